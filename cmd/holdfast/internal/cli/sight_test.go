//go:build unix

package cli_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

// sighted is a fake system that keeps three traces.
func sighted(t *testing.T) (*fakeSystem, *line) {
	t.Helper()
	f, l := serve(t)
	for _, s := range []control.TraceSummary{
		{ID: "aaaaaaaaaaaa11112222333344445555", Root: "GET /api/products", Service: "edge", Status: control.TraceOK, Keep: "sampled", Duration: 3 * time.Millisecond, Spans: 4, Attempts: 2, Services: []string{"edge", "gateway", "catalog"}},
		{ID: "bbbbbbbbbbbb11112222333344445555", Root: "POST /api/orders", Service: "edge", Status: control.TraceError, Keep: "error", Duration: 2100 * time.Millisecond, Spans: 9, Attempts: 5, Services: []string{"edge", "gateway", "orders", "stock", "payment", "mail"}, Error: "UNAVAILABLE: nobody\x1b[2J is left"},
		{ID: "cccccccccccc11112222333344445555", Root: "POST /api/orders", Service: "edge", Status: control.TraceHedged, Keep: "hedged", Duration: 80 * time.Millisecond, Spans: 5, Attempts: 3, Services: []string{"edge", "gateway"}},
	} {
		s.Start = f.now
		f.traces = append(f.traces, control.Trace{TraceSummary: s, Tree: []control.Span{{ID: "01", Name: s.Root, Service: s.Service, Start: s.Start, Duration: s.Duration}}})
	}
	return f, l
}

func TestTraces(t *testing.T) {
	for _, tc := range []struct{ name, args, calls string }{
		{"trace-list", "trace", "traces    0s 20"},
		{"trace-failed", "trace --failed --service orders --min 500ms -n 5", "traces error orders  500ms 5"},
		{"trace-slow", "trace --slow --text cart", "traces slow  cart 0s 20"},
		{"trace-last", "trace --hedged last", "traces hedged   0s 1"},
		{"explain-last", "explain last", "traces error   0s 1; explain bbbbbbbbbbbb11112222333344445555 en"},
		{"explain-id", "explain --lang zh cccccc", "explain cccccc zh"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, l := sighted(t)
			if code := l.run(strings.Fields(tc.args)...); code != 0 {
				t.Errorf("exit code %d, %s", code, l.err.String())
			}
			if got := f.called(); got != tc.calls {
				t.Errorf("calls = %q, want %q", got, tc.calls)
			}
			text := strings.ReplaceAll(l.out.String(), f.now.Format("2006-01-02"), "2026-03-01")
			golden(t, tc.name+".golden", clock.ReplaceAllString(text+l.err.String(), "12:00:00"))
		})
	}
}

func TestExplainInTheLocale(t *testing.T) {
	for locale, want := range map[string]string{"": "en", "zh_CN.UTF-8": "zh", "de_DE.UTF-8": "en"} {
		f, l := sighted(t)
		l.env["LANG"] = locale
		if code := l.run("explain", "bbbbbb"); code != 0 {
			t.Fatal(l.err.String())
		}
		if got := f.called(); got != "explain bbbbbb "+want {
			t.Errorf("%q: %s", locale, got)
		}
	}
}

func TestTracesThatAreNotThere(t *testing.T) {
	f, l := sighted(t)
	if code := l.run("trace", "dddddd"); code != 1 || l.err.String() != "holdfast trace: no trace dddddd is kept\n" {
		t.Errorf("exit code %d, %s", code, l.err.String())
	}
	f.traces = nil
	if code := l.run("explain", "--service", "orders", "last"); code != 1 || l.err.String() != "holdfast explain: no such call is kept: nothing failed that went through orders\n" {
		t.Errorf("exit code %d, %s", code, l.err.String())
	}
}

func TestSightAsJSON(t *testing.T) {
	_, l := sighted(t)
	for args, keys := range map[string]string{
		"trace bbbbbb --json": "id root status tree", "explain last --json": "title verdict lines trace", "top --json": "info instances graph queues locks faults groups edge",
		"console --json": "url code until",
	} {
		if code := l.run(strings.Fields(args)...); code != 0 {
			t.Fatalf("%s: %s", args, l.err.String())
		}
		var v map[string]any
		if err := json.Unmarshal([]byte(l.out.String()), &v); err != nil {
			t.Fatalf("%s: %v", args, err)
		}
		for _, key := range strings.Fields(keys) {
			if _, ok := v[key]; !ok {
				t.Errorf("%s: no %s", args, key)
			}
		}
	}
	var rows []map[string]any
	if l.run("trace", "--json"); json.Unmarshal([]byte(l.out.String()), &rows) != nil || len(rows) != 3 {
		t.Errorf("trace --json: %s", l.out.String())
	}
}

func TestTopOnceWithoutATerminal(t *testing.T) {
	_, l := sighted(t)
	if code := l.run("top", "--sort", "errors", "orders"); code != 0 {
		t.Fatal(l.err.String())
	}
	golden(t, "top-once.golden", regexp.MustCompile(`(for|up) \d+s`).ReplaceAllString(l.out.String(), "$1 9s"))
}

func TestConsolePrintsItsLinkAlone(t *testing.T) {
	_, l := sighted(t)
	if code := l.run("console"); code != 0 || !strings.HasPrefix(l.out.String(), "http://"+l.env["HOLDFAST_CONTROL"]+"/#login=") ||
		strings.Count(l.out.String(), "\n") != 1 || l.err.String() != "" {
		t.Errorf("exit code %d, %q, %q", code, l.out.String(), l.err.String())
	}
}

func TestTracesComplete(t *testing.T) {
	_, l := sighted(t)
	if code := l.run("__complete", "explain", ""); code != 0 || !strings.Contains(l.out.String(), "last\nbbbbbbbbbbbb\terror edge POST /api/orders\n") {
		t.Errorf("exit code %d, %q", code, l.out.String())
	}
	if code := l.run("__complete", "trace", "cc"); code != 0 || !strings.HasPrefix(l.out.String(), "cccccccccccc\t") {
		t.Errorf("exit code %d, %q", code, l.out.String())
	}
	if l.run("__complete", "top", "--sort", ""); !strings.HasPrefix(l.out.String(), "name\nrate\n") {
		t.Errorf("sort keys: %q", l.out.String())
	}
}
