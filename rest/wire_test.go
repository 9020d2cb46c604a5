package rest

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/idempotency"
	"github.com/holdfast-go/holdfast/resilience"
)

// Whatever headers a request has, it is handled or refused as a request should be, and what its handler gets to know is within
// bounds.
func FuzzServerHeaders(f *testing.F) {
	for _, s := range [][6]string{
		{"", "", "", "", "", ""},
		{"critical_plus", "acme", "1", "1000", "order-17", "application/json"},
		{"sheddable", "a b", "99", "0", `"quoted"`, "text/plain; charset=\""},
		{"CRITICAL", "\xff", "-1", "99999999999", strings.Repeat("k", 257), ";"},
		{"7", "\x00", "1e3", "-1", "a\nb", "application/json; q=1; q=2"},
	} {
		f.Add(s[0], s[1], s[2], s[3], s[4], s[5], "/orders", false)
		f.Add(s[0], s[1], s[2], s[3], s[4], s[5], "/%2F?a=%zz", true)
	}
	f.Fuzz(func(t *testing.T, criticality, tenant, attempt, timeout, key, kind, target string, twice bool) {
		quiet := slog.New(slog.DiscardHandler)
		ran := 0
		ledger := idempotency.New(new(idempotency.Memory), idempotency.Config{Logger: quiet})
		h := Wrap(Deduplicate(ledger, DedupeConfig{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ran++
			in, incoming := resilience.RequestOf(r.Context())
			if !incoming || in.Criticality < resilience.Sheddable || in.Criticality > resilience.Critical ||
				in.Tenant != "" && !resilience.ValidTenant(in.Tenant) || in.Attempt < 0 || twice && in != (resilience.Request{}) {
				t.Errorf("%+v, %v", in, incoming)
			}
			if d, ok := r.Context().Deadline(); !ok || d.IsZero() {
				t.Error("no deadline")
			}
			var v struct{ A int }
			if err := ReadJSON(r, &v); err != nil {
				Error(w, r, err)
				return
			}
			_, _ = io.WriteString(w, "done")
		})), ServerConfig{Logger: quiet})
		send := func() *http.Response {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"a":1}`))
			if u, err := r.URL.Parse(target); err == nil && u.Path != DefaultHealthPath {
				r.URL = u
			}
			for name, value := range map[string]string{
				HeaderCriticality: criticality, HeaderTenant: tenant, HeaderAttempt: attempt, HeaderTimeout: timeout,
				HeaderIdempotencyKey: key, "Content-Type": kind, "X-Load-Probe": attempt, "Expect": "",
			} {
				r.Header.Add(name, value)
				if twice {
					r.Header.Add(name, value)
				}
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Result()
		}
		first, second := send(), send()
		_, valid := idempotency.ParseKey(key)
		late := !twice && strings.Trim(timeout, "0") == "" && timeout != "" // there is no time at all
		for _, resp := range []*http.Response{first, second} {
			switch e := failure.ReadProblem(resp); {
			case late && resp.StatusCode >= 500, e == nil:
			case e.Code == failure.DeadlineExceeded, e.Code == failure.InvalidArgument:
			default:
				t.Errorf("%d %v", resp.StatusCode, e)
			}
		}
		if (twice || !valid) && ran > 0 || first.StatusCode < 300 && second.StatusCode < 500 && (second.StatusCode != first.StatusCode || ran != 1) {
			t.Errorf("%d, %d: ran %d times", first.StatusCode, second.StatusCode, ran)
		}
	})
}
