package control

import (
	"encoding/json"
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
