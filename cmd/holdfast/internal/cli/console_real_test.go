//go:build real && linux

package cli_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/pagetest"
	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	// seenWithin is how soon the graph has to show that an instance was killed, from the click on.
	seenWithin = time.Second
	// maxLoaded and maxPaint are what the console may load, over the wire, and when something of it has to be seen.
	maxLoaded = 400 << 10
	maxPaint  = time.Second
)

// diner is a system with a counter, a kitchen and a bill that comes by a message.
func diner(t *testing.T) (s *runningSystem, users, payable string) {
	t.Helper()
	users, payable = freeAddr(t), filepath.Join(t.TempDir(), "payable")
	t.Setenv("PAYABLE", payable)
	s = up(t, "system: diner\ncontrol: {members: 1}\nservices:\n"+
		"  bill: {run: "+yaml(service()+" bill")+"}\n"+
		"  kitchen: {run: "+yaml(service()+" kitchen")+", replicas: 2, needs: [bill]}\n"+
		"  counter: {run: "+yaml(service()+" counter")+", replicas: 2, needs: [kitchen], http: \""+users+"\"}\n")
	return s, users, payable
}

// order asks for a meal, as users do.
func order(ctx context.Context, users, id string) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+users+"/orders/"+id, nil)
	if err != nil {
		return 0
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// traceWith waits for a trace that went through all of the services.
func traceWith(t *testing.T, c *control.Client, q control.TraceQuery, services ...string) control.TraceSummary {
	t.Helper()
	var found control.TraceSummary
	eventuallyWithin(t, 30*time.Second, "a trace through "+strings.Join(services, ", "), func() bool {
		traces, err := c.Traces(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range traces {
			all := true
			for _, s := range services {
				all = all && slices.Contains(tr.Services, s)
			}
			if all {
				found = tr
				return true
			}
		}
		return false
	})
	return found
}

// The console in a browser, on a system of real processes: who comes by the link sees it at once, follows an order through it,
// kills an instance and sees that, reads why a call failed, and gives a dead letter to its group again. The commands say the same.
func TestRealConsole(t *testing.T) {
	s, users, payable := diner(t)
	c, ctx := s.client(t), t.Context()
	defer http.DefaultClient.CloseIdleConnections()
	link := strings.TrimSpace(s.do(t, "console"))
	tab := pagetest.NewTab(t, pagetest.Browser(t))
	tab.Scheme("light")
	tab.Size(1440, 900)

	tab.Go(link)
	tab.Until("the page follows the system", `document.body.dataset.live === "on"`)
	tab.Until("all services are in the graph", `["counter", "kitchen", "bill"].every((s) => document.querySelector('[data-service="' + s + '"]'))`)
	tab.Until("the code is gone from the address", `!location.hash.includes("login")`)
	painted := func() time.Duration {
		return time.Duration(pagetest.Value[float64](tab, `performance.getEntriesByName("first-contentful-paint")[0].startTime`) * float64(time.Millisecond))
	}
	paint := painted()
	loaded := pagetest.Value[int64](tab, `performance.getEntriesByType("navigation").concat(performance.getEntriesByType("resource")).reduce((n, e) => n + e.transferSize, 0)`)
	base, _, _ := strings.Cut(link, "#")
	for range 2 { // the best of three: what one takes may be the machine's
		if paint > maxPaint {
			tab.Go("about:blank")
			tab.Go(base)
			tab.Until("the page follows the system", `document.body.dataset.live === "on"`)
			paint = min(paint, painted())
		}
	}
	t.Logf("loaded %d bytes, painted after %s", loaded, paint)
	if paint > maxPaint || loaded > maxLoaded || loaded == 0 {
		t.Errorf("painted after %s, %d bytes loaded: at most %s and %d", paint, loaded, maxPaint, maxLoaded)
	}

	t.Run("follow an order", func(*testing.T) { followOrder(t, tab, c, base, users) })
	stop := orders(ctx, users)
	t.Run("kill an instance", func(*testing.T) {
		took := killByClick(t, tab, s, base, "kitchen-1")
		if took > seenWithin { // the better of two: what one takes may be the machine's
			took = killByClick(t, tab, s, base, "kitchen-2")
		}
		if took > seenWithin {
			t.Errorf("the graph shows it %s after the click, which must be at most %s", took, seenWithin)
		}
	})
	stop()
	t.Run("why a call failed", func(*testing.T) { readExplanation(t, tab, s, c, base, users) })
	t.Run("replay a dead letter", func(*testing.T) { replayLetter(t, tab, c, base, users, payable) })
	t.Run("log in again", func(*testing.T) { loginAgain(t, tab, tab.Another(), s, base) })
	for _, line := range tab.Complaints() {
		if !strings.Contains(line, "/orders/") {
			t.Errorf("in the browser's console: %s", line)
		}
	}
	if out := s.do(t, "events", "kitchen"); !strings.Contains(out, "kitchen-1") {
		t.Errorf("what happened to kitchen:\n%s", out)
	}
	if out := s.do(t, "top", "--once"); !strings.Contains(out, "kitchen-2") {
		t.Errorf("top:\n%s", out)
	}
	portray(t, tab, c, base)
}

// loginAgain opens links of logins where the console is open already: in the same tab, and in another one.
func loginAgain(t *testing.T, tab, other *pagetest.Tab, s *runningSystem, base string) {
	viewing := `document.querySelector("#top .right").textContent !== ""`
	pagetest.Value[int](tab, `localStorage.removeItem("holdfast.key"), 0`)
	tab.Go("about:blank")
	tab.Go(base)
	tab.Until("it may only look", viewing)
	pagetest.Value[string](tab, fmt.Sprintf("location.href = %q", strings.TrimSpace(s.do(t, "console"))))
	tab.Until("the code is gone from the address", `!location.hash.includes("login")`)
	tab.Until("it may do something", "!("+viewing+")")
	other.Go(strings.TrimSpace(s.do(t, "console")))
	other.Until("the other tab follows the system", `document.body.dataset.live === "on"`)
	said := pagetest.Value[string](tab, `import(new URL("api.js", document.querySelector("script[type=module]").src).href)
		.then((api) => api.post("/v1/freeze", {target: "kitchen-1"}))
		.then(() => "done", (e) => e.status + " " + e.message)`)
	if said != "done" {
		t.Errorf("after a login in another tab: %s", said)
	}
	if _, err := s.client(t).Thaw(t.Context(), "kitchen-1"); err != nil {
		t.Error(err)
	}
}

// orders keeps users busy until it is stopped.
func orders(ctx context.Context, users string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				order(ctx, users, fmt.Sprintf("meal-%d", n))
			}
		}
	}()
	return func() { cancel(); <-done }
}

func followOrder(t *testing.T, tab *pagetest.Tab, c *control.Client, base, users string) {
	if code := order(t.Context(), users, "first"); code != http.StatusCreated {
		t.Fatalf("the order is answered %d", code)
	}
	tr := traceWith(t, c, control.TraceQuery{}, "edge", "counter", "kitchen", "bill")
	tab.Go(base + "#/calls")
	tab.Click(`[data-trace="` + tr.ID + `"]`)
	tab.Until("the waterfall is drawn", `document.querySelectorAll("[data-span]").length >= 6`)
	names := tab.Text(`[...document.querySelectorAll("[data-span]")].map((e) => e.textContent).join("\n")`)
	for _, want := range []string{"POST /orders", "PUT /meals", "publish meals.cooked", "process meals.cooked", "counter-", "kitchen-", "bill-1"} {
		if !strings.Contains(names, want) {
			t.Errorf("the waterfall lacks %q:\n%s", want, names)
		}
	}
	tab.Shot("console-call")
}

// killByClick returns how long after the click the graph showed it, by the clocks of the page itself: without the way to this test
// and back.
func killByClick(t *testing.T, tab *pagetest.Tab, s *runningSystem, base, id string) time.Duration {
	node := fmt.Sprintf(`document.querySelector('.node [data-instance="%s"]')`, id)
	tab.Go(base + "#/service/kitchen")
	tab.Until(id+" is well in the graph", node+`?.dataset.state === "ready"`)
	pagetest.Value[int](tab, `(() => {
		const dot = `+node+`;
		window.clicked = window.shown = undefined;
		document.addEventListener("click", (e) => { if (e.target.closest("[data-confirm]")) window.clicked = performance.now() }, true);
		document.addEventListener("submit", () => { window.clicked ??= performance.now() }, true);
		new MutationObserver(() => {
			if (window.clicked && !window.shown && dot.dataset.state !== "ready") { window.shown = performance.now(); window.as = dot.dataset.state }
		}).observe(document.body, {subtree: true, childList: true, attributes: true, attributeFilter: ["data-state"]});
		return 0;
	})()`)
	tab.Click(fmt.Sprintf(`li[data-instance="%s"] [data-action="kill"]`, id))
	tab.Click(`[data-confirm]`)
	tab.Until("the graph shows it", `window.shown`)
	tab.Shot("console-killed")
	took := time.Duration(pagetest.Value[float64](tab, `window.shown - window.clicked`) * float64(time.Millisecond))
	t.Logf("the graph shows %s as %s %s after the click", id, tab.Text(`window.as`), took)
	if i := s.ps(t)[id]; i.Restarts == 0 && i.State == "ready" {
		t.Errorf("%s was not killed: %+v", id, i)
	}
	tab.Until("it is back", node+`?.dataset.state === "ready"`)
	return took
}

func readExplanation(t *testing.T, tab *pagetest.Tab, s *runningSystem, c *control.Client, base, users string) {
	f, err := c.Inject(t.Context(), control.FaultRequest{
		Kind: control.FaultCalls, TTL: control.MaxTTL, Targets: []string{"kitchen-1", "kitchen-2"}, Note: "a test",
		Calls: []control.Calls{{Share: 1, Code: "UNAVAILABLE"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if code := order(t.Context(), users, "doomed"); code < 500 {
		t.Errorf("what cannot work is answered %d", code)
	}
	if err := c.Mend(t.Context(), f.ID); err != nil {
		t.Fatal(err)
	}
	tr := traceWith(t, c, control.TraceQuery{Status: control.TraceError}, "counter")
	tab.Go(base + "#/calls")
	tab.Click(`[data-status="error"].toggle`)
	tab.Click(`[data-trace="` + tr.ID + `"]`)
	tab.Until("it is explained", `document.querySelector(".explain .verdict")?.textContent`)
	want, err := c.Explain(t.Context(), tr.ID, "en")
	if err != nil {
		t.Fatal(err)
	}
	verdict := tab.Text(`document.querySelector(".explain .verdict").textContent`)
	t.Logf("explained: %s", verdict)
	if !strings.Contains(verdict, want.Verdict) || !strings.Contains(verdict, "kitchen") {
		t.Errorf("the page says %q, the system %q; neither may leave out kitchen", verdict, want.Verdict)
	}
	tab.Shot("console-explained")
	out := s.do(t, "explain", "last")
	t.Logf("holdfast explain last:\n%s", out)
	if !strings.Contains(out, want.Verdict) {
		t.Errorf("holdfast explain last does not say %q", want.Verdict)
	}
	if out := s.do(t, "trace", "--failed", "last"); !strings.Contains(out, "1 → kitchen-") {
		t.Errorf("holdfast trace --failed last:\n%s", out)
	}
}

func replayLetter(t *testing.T, tab *pagetest.Tab, c *control.Client, base, users, payable string) {
	if code := order(t.Context(), users, "poison"); code != http.StatusCreated {
		t.Fatalf("the order is answered %d", code)
	}
	dead := func() int {
		letters, err := c.Dead(t.Context(), "meals.cooked", "bill", "", 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(letters)
	}
	eventuallyWithin(t, 30*time.Second, "a dead letter", func() bool { return dead() == 1 })
	tab.Go(base + "#/queues/meals.cooked/bill")
	tab.Until("the letter is listed", `document.querySelector("[data-letter]")?.textContent.includes("nobody pays for this")`)
	tab.Shot("console-letter")
	if err := os.WriteFile(payable, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tab.Click(`[data-letter] [data-action="replay"]`)
	tab.Click(`[data-confirm]`)
	tab.Until("the letter is gone", `!document.querySelector("[data-letter]")`)
	if n := dead(); n != 0 {
		t.Errorf("%d dead letters are left", n)
	}
}

// portray keeps a picture of each view, in light and dark.
func portray(t *testing.T, tab *pagetest.Tab, c *control.Client, base string) {
	t.Helper()
	failed := traceWith(t, c, control.TraceQuery{Status: control.TraceError}, "counter")
	for _, scheme := range []string{"light", "dark"} {
		tab.Scheme(scheme)
		for name, hash := range map[string]string{
			"graph": "#/", "instances": "#/instances", "calls": "#/calls", "explain": "#/calls/" + failed.ID, "state": "#/state",
			"queues": "#/queues", "policies": "#/policies", "logs": "#/logs", "events": "#/events",
		} {
			tab.Go(base + "?" + name + hash)
			tab.Until(name+" is drawn", `document.body.dataset.live === "on" && document.querySelector("main h1, main h2") && !document.querySelector("main [aria-busy=true]")`)
			tab.Shot("console-" + name + "-" + scheme)
			for _, line := range tab.Complaints() {
				t.Errorf("%s: in the browser's console: %s", name, line)
			}
		}
	}
}
