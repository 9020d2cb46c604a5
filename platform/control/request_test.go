package control

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/failure"
)

// Whatever is sent: what the parsers accept is in bounds, and what they refuse is the caller's fault.
func FuzzParseTarget(f *testing.F) {
	for _, seed := range []string{`{"target":"orders-1"}`, `{"target":"orders","all":true}`, `{"target":1}`, `[]`, `{}`, "", `{"target":"a"}x`, "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		req, err := parseTarget(strings.NewReader(body))
		if err != nil {
			refused(t, err)
			return
		}
		if req.Target == "" || len(req.Target) > maxName {
			t.Errorf("accepted the target %q", req.Target)
		}
		b, _ := json.Marshal(req)
		if again, err := parseTarget(strings.NewReader(string(b))); err != nil || again != req {
			t.Errorf("%s parses as %+v, %v; want %+v", b, again, err, req)
		}
	})
}

func FuzzParseScale(f *testing.F) {
	for _, seed := range []string{`{"service":"orders","replicas":3}`, `{"service":"orders","replicas":0}`, `{"service":"orders","replicas":1e9}`, `{"service":"orders"}`, `{"replicas":null}`, "{"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		req, err := parseScale(strings.NewReader(body))
		if err != nil {
			refused(t, err)
			return
		}
		if req.Service == "" || req.Replicas == nil || *req.Replicas < 0 || *req.Replicas > MaxReplicas {
			t.Errorf("accepted %+v", req)
		}
	})
}

func FuzzParseLogQuery(f *testing.F) {
	for _, seed := range []string{"", "service=orders&follow=true&lines=100", "lines=-1", "follow=x", "lines=99999999999999999999", "%zz"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		v, err := url.ParseQuery(query)
		if err != nil {
			return // net/http drops what it cannot parse
		}
		q, err := parseLogQuery(v)
		if err != nil {
			refused(t, err)
			return
		}
		if q.Lines < 0 || q.Lines > MaxLogLines || len(q.Service) > maxName {
			t.Errorf("accepted %+v", q)
		}
		if again, err := parseLogQuery(logQueryValues(q)); err != nil || again != q {
			t.Errorf("round trip of %+v = %+v, %v", q, again, err)
		}
	})
}

func FuzzParseEventQuery(f *testing.F) {
	for _, seed := range []string{"", "last=100&follow=false", "last=-1", "last=99999999999999999999", "follow=x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		v, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		q, err := parseEventQuery(v)
		if err != nil {
			refused(t, err)
			return
		}
		if again, err := parseEventQuery(eventQueryValues(q)); q.Last < 0 || q.Last > MaxEvents || err != nil || again != q {
			t.Errorf("accepted %+v, which is %+v, %v again", q, again, err)
		}
	})
}

func FuzzParseDeadQuery(f *testing.F) {
	for _, seed := range []string{"", "after=17&limit=50", "limit=0", "limit=1e3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		v, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		after, limit, err := parseDeadQuery(v)
		if err != nil {
			refused(t, err)
			return
		}
		if len(after) > maxPosition || limit < 1 || limit > MaxDead {
			t.Errorf("accepted %q, %d", after, limit)
		}
	})
}

func FuzzParseLetters(f *testing.F) {
	for _, seed := range []string{`{"all":true}`, `{"positions":["17","18"]}`, `{"positions":[]}`, `{"positions":[""],"all":true}`, `{`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		req, err := parseLetters(strings.NewReader(body))
		if err != nil {
			refused(t, err)
			return
		}
		if req.All == (len(req.Positions) > 0) || len(req.Positions) > MaxPositions {
			t.Errorf("accepted %+v", req)
		}
	})
}

// Whatever is in a token file: what is taken from it can be sent, and what an address is called is a name of a file and no path.
func FuzzTokenFile(f *testing.F) {
	f.Add("127.0.0.1:7070", []byte(`{"token":"abc","pid":1}`))
	f.Add("[::1]:7070", []byte(`{"token":"a\nb"}`))
	f.Add("../../etc:1", []byte(`{"token":"abc","pin":"AAAA"}`))
	f.Add("localhost:/x", []byte(`{`))
	f.Fuzz(func(t *testing.T, addr string, b []byte) {
		for _, name := range tokenNames(addr) {
			if strings.ContainsAny(name, "/\\:\x00") || strings.HasPrefix(name, "..") && strings.HasPrefix(name, "../") {
				t.Errorf("%q has a file %q", addr, name)
			}
		}
		file, err := parseTokenFile(b)
		if err == nil && (file.Token == "" || strings.ContainsAny(file.Token, "\r\n\x00 ") || len(file.Pin) != 0 && len(file.Pin) != 32) {
			t.Errorf("accepted %+v", file)
		}
	})
}

// FuzzReadFrames: a stream of anything ends, and each event of it comes whole.
func FuzzReadFrames(f *testing.F) {
	for _, seed := range []string{"event: live\ndata: {}\n\n", ":\n\n", "data: a\ndata: b\n\n", "event: x\n\n", "data\n\n", "retry: 1\n\n\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		err := readFrames(strings.NewReader(stream), func(name string, data []byte) error {
			if strings.Contains(name, "\n") || strings.Contains(string(data), "\n") {
				t.Errorf("%q %q", name, data)
			}
			return nil
		})
		if err != nil && len(stream) < maxAnswer {
			t.Error(err)
		}
	})
}

// FuzzGuard: whatever comes from elsewhere, by its Host or its Origin, changes nothing, even with a token.
func FuzzGuard(f *testing.F) {
	f.Add("POST", "127.0.0.1:7070", "http://127.0.0.1:7070", "application/json", "same-origin")
	f.Add("POST", "evil.example", "", "application/json", "")
	f.Add("PUT", "localhost", "null", "text/plain", "cross-site")
	f.Add("DELETE", "[::1]", "http://[::1]", "", "none")
	f.Fuzz(func(t *testing.T, method, host, origin, contentType, site string) {
		changed := false
		keys := &keyring{name: "holdfast-1"}
		token := keys.addToken(Operate)
		g := &guard{keys: keys, open: true, next: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { changed = true })}
		r := &http.Request{Method: method, Host: host, URL: &url.URL{Path: "/v1/kill"}, Header: http.Header{
			"Origin": {origin}, "Content-Type": {contentType}, "Sec-Fetch-Site": {site}, "Authorization": {"Bearer " + token},
		}}
		g.ServeHTTP(httptest.NewRecorder(), r)
		foreign := !isLoopback(hostOf(host)) || site == "cross-site" || site == "same-site" || origin != "" && origin != "http://"+host &&
			!strings.EqualFold(origin, "http://"+host)
		if changed && foreign && method != http.MethodGet {
			if u, err := url.Parse(origin); err == nil && u.Scheme == "http" && strings.EqualFold(u.Host, host) && isLoopback(hostOf(host)) && site != "cross-site" && site != "same-site" {
				return // the same, written in another way
			}
			t.Errorf("%s of %q from %q (%s) was let in", method, host, origin, site)
		}
		changed = false
		r.Header.Del("Authorization")
		g.ServeHTTP(httptest.NewRecorder(), r)
		if changed && method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions {
			t.Errorf("%s without a token was let in", method)
		}
	})
}

// FuzzResolve: a target stands for instances that exist, or is refused with a message of one line.
func FuzzResolve(f *testing.F) {
	for _, seed := range []string{"orders", "orders-1", "orders-", "-1", "control", "ordres", "", "-", "a\nb"} {
		f.Add(seed)
	}
	info := Info{Services: []Service{{Name: "orders"}, {Name: "order-mail"}, {Name: "idle"}}}
	instances := []Instance{{Service: "orders", ID: "orders-1"}, {Service: "orders", ID: "orders-2"}, {Service: "order-mail", ID: "order-mail-1"}}
	f.Fuzz(func(t *testing.T, target string) {
		sel, err := resolve(info, instances, target)
		if err == nil {
			if len(sel.instances) == 0 || sel.service == "" {
				t.Errorf("resolve(%q) = %+v", target, sel)
			}
			return
		}
		if strings.Contains(failure.From(err).Message, "\n") {
			t.Errorf("resolve(%q): message of several lines: %q", target, err)
		}
	})
}

func refused(t *testing.T, err error) {
	t.Helper()
	if failure.CodeOf(err) != failure.InvalidArgument || failure.From(err).Message == "" {
		t.Errorf("refused with %v, want INVALID_ARGUMENT and a message", err)
	}
}

func TestSuggest(t *testing.T) {
	names := []string{"catalog", "cart", "orders", "payment", "control"}
	for typed, want := range map[string]string{
		"ordres": "orders", "order": "orders", "catalogue": "catalog", "crat": "cart", "card": "cart",
		"cars": "cart", "x": "", "": "", "frontend": "", "contorl": "control", "paymnet": "payment", "ca": "",
	} {
		if got := Suggest(typed, names); got != want {
			t.Errorf("Suggest(%q) = %q, want %q", typed, got, want)
		}
	}
}

// One typing mistake of any kind is always at distance 1, and distance is symmetric and 0 only for equals.
func TestDistanceOfOneMistake(t *testing.T) {
	word := rapid.StringMatching(`[a-z]{2,12}`)
	rapid.Check(t, func(t *rapid.T) {
		a := word.Draw(t, "a")
		i := rapid.IntRange(0, len(a)-2).Draw(t, "i")
		letter := rapid.StringMatching(`[a-z]`).Draw(t, "letter")
		for kind, b := range map[string]string{
			"missing": a[:i] + a[i+1:],
			"added":   a[:i] + letter + a[i:],
			"wrong":   a[:i] + letter + a[i+1:],
			"swapped": a[:i] + string(a[i+1]) + string(a[i]) + a[i+2:],
		} {
			want := 1
			if a == b {
				want = 0
			}
			if got := distance(a, b); got != want || got != distance(b, a) {
				t.Errorf("%s: distance(%q, %q) = %d and %d, want %d", kind, a, b, got, distance(b, a), want)
			}
		}
	})
}
