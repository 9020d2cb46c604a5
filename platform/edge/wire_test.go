package edge

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strings"
	"testing"
)

// Whatever headers a user sends: what is only said between services does not come through, and who it comes from is said
// by the edge, unless what is in front of it is trusted.
func FuzzForwardedHeaders(f *testing.F) {
	for _, s := range [][2]string{
		{"X-Forwarded-For", "10.0.0.1, 10.0.0.2"},
		{"Forwarded", `for="[::1]";proto=https`},
		{"X-Real-Ip", "\x00"},
		{"Connection", "X-Forwarded-For, X-Criticality"},
		{"X-Criticality", "critical_plus"},
		{"x-attempt", "9"},
		{"X-Load-Probe", "1"},
		{"Host", "elsewhere"},
	} {
		f.Add(s[0], s[1], "/a?b=c", false)
		f.Add(s[0], s[1], "/%2e%2e/;x?%zz", true)
	}
	f.Fuzz(func(t *testing.T, name, value, target string, trust bool) {
		in, err := http.NewRequest(http.MethodPost, "http://shop.example", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		if u, err := in.URL.Parse(target); err == nil {
			in.URL.Path, in.URL.RawPath, in.URL.RawQuery = u.Path, u.RawPath, u.RawQuery
		}
		in.RemoteAddr = "192.0.2.7:1234"
		in.Header.Add(name, value)
		in.Header.Add(name, value)

		e := &Edge{service: "shop", cfg: Config{TrustForwarded: trust}}
		var sent *http.Request
		proxy := &httputil.ReverseProxy{
			Rewrite: e.rewrite,
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				sent = r
				return &http.Response{StatusCode: http.StatusNoContent, Header: make(http.Header), Body: http.NoBody, Request: r}, nil
			}),
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadRequest) },
		}
		proxy.ServeHTTP(httptest.NewRecorder(), in)
		if sent == nil {
			return // refused
		}
		if sent.URL.Host != "shop" || sent.URL.Scheme != "http" || sent.Host != "shop.example" {
			t.Errorf("it goes to %s (%s)", sent.URL, sent.Host)
		}
		for _, h := range []string{"X-Criticality", "X-Tenant", "X-Attempt", "X-Load-Probe"} {
			if v := sent.Header.Values(h); len(v) > 0 {
				t.Errorf("%s: %q came through", h, v)
			}
		}
		from := sent.Header["X-Forwarded-For"]
		if len(from) != 1 || !strings.HasSuffix(from[0], "192.0.2.7") || !trust && from[0] != "192.0.2.7" {
			t.Errorf("it comes from %q", from)
		}
		if !trust {
			for _, h := range []string{"Forwarded", "X-Real-Ip"} {
				if v := sent.Header.Values(h); len(v) > 0 {
					t.Errorf("%s: %q is believed", h, v)
				}
			}
			if v := sent.Header["X-Forwarded-Host"]; !slices.Equal(v, []string{"shop.example"}) {
				t.Errorf("X-Forwarded-Host: %q", v)
			}
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
