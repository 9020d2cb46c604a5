//go:build real && linux

package console_test

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/holdfast-go/holdfast/internal/pagetest"
)

// visit opens a view of a fake system for somebody who may change it.
func visit(t *testing.T, f *fake, hash string) *pagetest.Tab {
	t.Helper()
	server := httptest.NewServer(f.handler())
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	tab := pagetest.NewTab(t, pagetest.Browser(t))
	tab.Size(1280, 900)
	tab.Go(server.URL)
	pagetest.Value[int](tab, `localStorage.setItem("holdfast.key", "k"), 0`)
	tab.Go(server.URL + "/?" + hash)
	tab.Until("the view is drawn", isDrawn)
	return tab
}

// changesOf is what a fake was asked to change.
func changesOf(f *fake) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.changes)
}

// pure is a test of those of the page's modules that only compute: it has what is not as it should be.
const pure = `(async () => {
  const from = (name) => import(new URL(name, document.querySelector("script[type=module]").src).href);
  const [format, layout, spans, i18n] = await Promise.all(["format.js", "layout.js", "spans.js", "i18n.js"].map(from));
  const wrong = [];
  const is = (what, got, want) => {
    const [a, b] = [JSON.stringify(got), JSON.stringify(want)];
    if (a !== b) wrong.push(what + ": " + a + ", want " + b);
  };
  for (const [ns, want] of [[0, "–"], [-1, "–"], [undefined, "–"], [420, "0.42 µs"], [4.2e5, "0.42 ms"], [1.24e7, "12 ms"], [9.994e8, "999 ms"], [1.25e9, "1.3 s"], [59.96e9, "1 min"], [65e9, "1 min 5 s"], [3600e9, "1 h"], [11520e9, "3 h 12 min"], [90000e9, "1 d 1 h"]])
    is("duration " + ns, format.duration(ns), want);
  for (const [x, want] of [[0, "0/s"], [NaN, "0/s"], [0.001, "<0.01/s"], [0.25, "0.25/s"], [4.25, "4.3/s"], [12.4, "12/s"], [999.6, "1\u202f000/s"], [12345, "12 k/s"], [3.2e6, "3.2 M/s"]]) is("rate " + x, format.rate(x), want);
  for (const [a, b, want] of [[0, 0, "–"], [0, 5, "0 %"], [1, 1e6, "<0.01 %"], [7, 100, "7 %"], [999, 1000, "99.9 %"], [99999, 100000, "99.9 %"], [5, 5, "100 %"]]) is("share " + a + "/" + b, format.share(a, b), want);
  is("bytes", [0, 900, 2048, 39 << 20, 5 * 2 ** 30].map(format.bytes), ["–", "900 B", "2 KiB", "39 MiB", "5 GiB"]);
  is("value", [7.199999999, 3, true, ["a", "b"], {x: 1}, "s"].map(format.value), ["7.2", "3", "true", "a, b", '{"x":1}', "s"]);
  is("age", format.age("2026-01-01T00:00:00Z", Date.parse("2026-01-01T03:12:30Z")), "3 h 12 min");

  const names = ["web", "a", "b", "store", "alone", "worker"];
  const calls = [["web", "a"], ["web", "b"], ["a", "store"], ["b", "store"], ["a", "b"]].map(([f, to]) => ({from: f, to, kind: "call"}));
  calls.push({from: "store", to: "worker", kind: "message"}, {from: "worker", to: "a", kind: "message"}, {from: "store", to: "store", kind: "call"}, {from: "web", to: "nobody", kind: "call"});
  const {layer, alone} = layout.layers(names, calls);
  is("layers", [...layer], [["web", 0], ["a", 1], ["b", 2], ["store", 3], ["alone", 0], ["worker", 4]]);
  is("alone", [...alone], ["alone"]);
  const one = layout.arrange(names, calls, 1200);
  is("the same again", [...layout.arrange(names, calls.slice().reverse(), 1200).places], [...one.places]);
  for (const width of [280, 360, 700, 1024, 1600]) {
    const plan = layout.arrange(names, calls, width);
    const all = [...plan.places];
    is("everybody has a place at " + width, all.length, names.length);
    for (const [n, p] of all) {
      if (p.x < -0.5 || p.x + p.w > plan.width + 0.5 || p.y < 0 || p.y + p.h > plan.height + 0.5) wrong.push(n + " is outside of the picture at " + width);
      for (const [m, q] of all) if (n < m && p.x < q.x + q.w && q.x < p.x + p.w && p.y < q.y + q.h && q.y < p.y + p.h) wrong.push(n + " lies on " + m + " at " + width);
    }
    if (plan.width * layout.smallest > width + 1) wrong.push("wider than " + width);
    const ways = layout.ways(calls, plan);
    is("ways at " + width, ways.map((w) => w !== undefined), calls.map((e) => e.from !== e.to && e.to !== "nobody"));
    if (ways.some((w) => w && /NaN|undefined/.test(w.d + w.x + w.y))) wrong.push("a way leads nowhere");
  }
  for (const width of [300, 700, 1200]) {
    const crowd = [...names, ..."pqrstuv"];
    const plan = layout.arrange(crowd, calls, width);
    for (const n of crowd) {
      const p = plan.places.get(n);
      if (!p || p.x < -0.5 || p.x + p.w > plan.width + 0.5 || p.y + p.h > plan.height + 0.5) wrong.push(n + " of a crowd is outside of the picture at " + width);
    }
  }
  is("none at all", layout.arrange([], [], 800).places.size, 0);

  const span = (id, parent, more) => ({id, parent, name: id, service: "s", kind: "internal", start: "2026-01-01T00:00:00.000001Z", duration: 1000, attributes: {}, ...more});
  const call = (id, parent) => span(id, parent, {attributes: {"holdfast.call": true}});
  const attempt = (id, parent, n) => span(id, parent, {kind: "client", attributes: {"holdfast.attempt": n}});
  const tree = [call("c", ""), attempt("a1", "c", 1), span("s1", "a1", {kind: "server"}), call("d", "s1"), attempt("b2", "d", 2), attempt("b1", "d", 1), span("t", "b2", {kind: "server"}), span("u", "t"), span("lost", "nobody")];
  is("folded", spans.fold(tree, false).map((r) => [r.kind, r.span.id, r.depth]), [["call", "c", 0], ["call", "d", 1], ["attempt", "b1", 2], ["attempt", "b2", 2], ["span", "u", 3], ["span", "lost", 0]]);
  is("whole", spans.fold(tree, true).map((r) => r.span.id).sort(), tree.map((s) => s.id).sort());
  is("a circle ends", spans.fold([span("x", "y"), span("y", "x"), span("z", "")], false).map((r) => r.span.id), ["z"]);
  is("nanoseconds", spans.startOf("2026-01-01T00:00:00.123456789Z", Date.parse("2026-01-01T00:00:00Z")), 123456789);
  is("whole seconds", spans.startOf("2026-01-01T00:00:01Z", Date.parse("2026-01-01T00:00:00Z")), 1e9);
  is("ticks", spans.ticks(1e8), [0, 2e7, 4e7, 6e7, 8e7]);
  is("a phrase", [i18n.t("kill.title", {name: "<b>$&"}), i18n.tn("calls.spans", 1), i18n.tn("calls.spans", 2), i18n.t("no such")], ["Kill <b>$&?", "one span", "2 spans", "no such"]);
  return wrong;
})()`

func TestRealComputed(t *testing.T) {
	tab := visit(t, shop(), "#/")
	for _, line := range pagetest.Value[[]string](tab, pure) {
		t.Error(line)
	}
}

// Somebody kills, freezes, thaws and scales by clicks: each is asked first, by name, and is seen at once.
func TestRealSteering(t *testing.T) {
	f := shop()
	tab := visit(t, f, "#/instance/orders-2")
	tab.Click(".panel [data-action=kill]")
	tab.Until("the question names the target", `document.querySelector("dialog h2").textContent === "Kill orders-2?"`)
	tab.Do("escape", chromedp.KeyEvent(kb.Escape))
	tab.Until("the question is gone", `!document.querySelector("dialog")`)
	if got := changesOf(f); len(got) > 0 {
		t.Fatalf("done without a confirmation: %q", got)
	}
	tab.Click(".panel [data-action=kill]")
	tab.Click("dialog [data-confirm]")
	tab.Until("it is dead", `document.querySelector("tr[data-instance='orders-2']").dataset.state === "dead"`)
	tab.Until("the head says so", `document.querySelector("#verdict").textContent.includes("problem")`)

	tab.Click("tr[data-instance=orders-1] [data-action=freeze]")
	tab.Click("dialog [data-confirm]")
	tab.Until("it is frozen", `document.querySelector("tr[data-instance='orders-1']").dataset.state === "frozen"`)
	tab.Click(".toast button:not(.quiet)")
	tab.Until("it goes on", `document.querySelector("tr[data-instance='orders-1']").dataset.state === "ready"`)

	tab.Do("go to the service", chromedp.EvaluateAsDevTools[chromedp.Void](`location.hash = "#/service/orders"`))
	tab.Click("[data-action=scale]")
	tab.Click("dialog [data-confirm]")
	tab.Until("it is wanted", `document.querySelector(".wanted").textContent === "4"`)
	if got, want := changesOf(f), []string{"kill orders-2", "freeze orders-1", "thaw orders-1", "scale orders"}; !slices.Equal(got, want) {
		t.Errorf("asked for %q, want %q", got, want)
	}
	for _, line := range tab.Complaints() {
		t.Errorf("in the browser's console: %s", line)
	}
}

// A stream that breaks is said to be broken, is opened again by itself, and what has happened meanwhile is there once.
func TestRealBrokenStream(t *testing.T) {
	f := shop()
	server := httptest.NewServer(f.handler())
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	tab := pagetest.NewTab(t, pagetest.Browser(t))
	tab.Go(server.URL + "/#/events")
	tab.Until("the first event", `document.querySelectorAll(".event-list.long li").length === 1`)
	f.mu.Lock()
	f.down = true
	f.mu.Unlock()
	server.CloseClientConnections()
	tab.Until("it says that it is off", `document.body.dataset.live === "off" && document.querySelector("#verdict").textContent.includes("No connection")`)
	f.mu.Lock()
	f.down = false
	f.happen("orders", "orders-1", "frozen", "orders-1 is frozen, unseen")
	f.mu.Unlock()
	tab.Until("it is on again", `document.body.dataset.live === "on"`)
	tab.Until("what was missed is there, newest first", `[...document.querySelectorAll(".event-list.long li")].map((l) => l.textContent).join("|").includes("unseen|")`)
	if n := pagetest.Value[int](tab, `document.querySelectorAll(".event-list.long li").length`); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
}

// leave has the page left, with the browser keeping it for the way back; comeBack is that way.
const (
	leave    = `dispatchEvent(new PageTransitionEvent("pagehide", {persisted: true}))`
	comeBack = `dispatchEvent(new PageTransitionEvent("pageshow", {persisted: true}))`
)

// What happens while nobody sees the page is there when somebody does again, though its stream was never told to be broken.
func TestRealWhatHappenedUnseen(t *testing.T) {
	f := shop()
	tab := visit(t, f, "#/events")
	tab.Until("the first event", `document.body.dataset.live === "on" && document.querySelectorAll(".event-list.long li").length === 1`)
	tab.Do("leave the page", chromedp.EvaluateAsDevTools[chromedp.Void](leave))
	f.mu.Lock()
	f.happen("orders", "orders-1", "frozen", "orders-1 is frozen, unseen")
	f.mu.Unlock()
	tab.Do("come back", chromedp.EvaluateAsDevTools[chromedp.Void](comeBack))
	tab.Until("what was missed is there, newest first", `[...document.querySelectorAll(".event-list.long li")].map((l) => l.textContent).join("|").includes("unseen|")`)
	if n := pagetest.Value[int](tab, `document.querySelectorAll(".event-list.long li").length`); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
}

// A connection that was made anew sends what is kept again: it is shown once, and what there was stays until then.
func TestRealLogsOfANewConnection(t *testing.T) {
	f := shop()
	tab := visit(t, f, "#/logs")
	tab.Until("the lines are there", `document.querySelectorAll(".log-list li").length === 300`)
	tab.Do("mark them, and leave the page", chromedp.EvaluateAsDevTools[chromedp.Void](`document.querySelectorAll(".log-list li").forEach((l) => l.dataset.old = ""), `+leave))
	if n := pagetest.Value[int](tab, `document.querySelectorAll(".log-list li").length`); n != 300 {
		t.Errorf("%d lines are left before there are others", n)
	}
	tab.Do("come back", chromedp.EvaluateAsDevTools[chromedp.Void](comeBack))
	tab.Until("the lines of the next connection are there", `document.querySelectorAll(".log-list li:not([data-old])").length === 300`)
	if n := pagetest.Value[int](tab, `document.querySelectorAll(".log-list li").length`); n != 300 {
		t.Errorf("%d lines, want 300", n)
	}
}

// What is refused is said where it was asked for, with what to do about it.
func TestRealRefusal(t *testing.T) {
	f := shop()
	tab := visit(t, f, "#/instances")
	pagetest.Value[int](tab, `localStorage.removeItem("holdfast.key"), 0`)
	tab.Do("load it again", chromedp.Reload())
	tab.Until("the page knows what it may", `document.querySelector("#top").textContent.includes("View only")`)
	tab.Click("tr[data-instance=orders-1] [data-action=kill]")
	tab.Click("dialog [data-confirm]")
	tab.Until("the reason is in the question", `document.querySelector("dialog .trouble").textContent.includes("you may look, not change") && document.querySelector("dialog .trouble").textContent.includes("holdfast console")`)
	if got := changesOf(f); len(got) > 0 {
		t.Errorf("done without the right to it: %q", got)
	}
}

func TestRealDeadLetters(t *testing.T) {
	f := shop()
	f.trouble()
	tab := visit(t, f, "#/queues/payments.settled/orders")
	tab.Until("three letters", `document.querySelectorAll("[data-letter]").length === 3`)
	tab.Do("choose one", chromedp.Click("[data-letter='42'] input"))
	tab.Click(".filter [data-action=replay]")
	tab.Click("dialog [data-confirm]")
	tab.Until("two are left", `document.querySelectorAll("[data-letter]").length === 2`)
	tab.Click(".filter [data-action=discard]")
	tab.Until("it says that this cannot be undone", `document.querySelector("dialog").textContent.includes("cannot be undone")`)
	tab.Click("dialog [data-confirm]")
	tab.Until("none is left", `document.querySelectorAll("[data-letter]").length === 0`)
	if got, want := changesOf(f), []string{"replay [42] false", "discard [] true"}; !slices.Equal(got, want) {
		t.Errorf("asked for %q, want %q", got, want)
	}
}

// Everything can be reached and done by keys alone, and no key acts while somebody writes.
func TestRealKeys(t *testing.T) {
	f := shop()
	f.trouble()
	tab := visit(t, f, "#/")
	for key, title := range map[string]string{"i": "Instances", "c": "Calls", "s": "State", "q": "Queues", "p": "Policies", "l": "Logs", "e": "Events"} {
		tab.Do("press "+key, chromedp.KeyEvent(key))
		tab.Until(key+" leads to "+title, fmt.Sprintf(`document.querySelector("main h1").textContent === %q && document.title.includes(%q) && document.querySelector("#nav [aria-current]").textContent.startsWith(%q)`, title, title, title))
	}
	tab.Do("instances", chromedp.KeyEvent("i"))
	tab.Until("instances are drawn", `document.querySelectorAll("tr[data-instance]").length > 20`)
	tab.Do("search", chromedp.KeyEvent("/"))
	tab.Until("the search has the focus", `document.activeElement.type === "search"`)
	// The browser that is steered writes the key all the same, which one with a keyboard does not.
	tab.Do("search", chromedp.EvaluateAsDevTools[chromedp.Void](`document.activeElement.value = ""`), chromedp.KeyEvent("orders-3"))
	tab.Until("one is found", `document.querySelectorAll("tr[data-instance]").length === 1`)
	if hash := tab.Text("location.hash"); hash != "#/instances" {
		t.Errorf("a key acted while somebody wrote: %s", hash)
	}
	tab.Do("leave the search", chromedp.EvaluateAsDevTools[chromedp.Void](`document.activeElement.blur()`), chromedp.KeyEvent(kb.ArrowDown))
	tab.Until("the row has the focus", `document.activeElement.closest("tr")?.dataset.instance === "orders-3"`)
	tab.Do("kill", chromedp.KeyEvent("k"))
	tab.Until("it asks", `document.querySelector("dialog h2").textContent === "Kill orders-3?" && document.activeElement.dataset.confirm !== undefined`)
	tab.Do("confirm", chromedp.KeyEvent(kb.Enter))
	tab.Until("it is done", `!document.querySelector("dialog")`)
	tab.Do("help", chromedp.KeyEvent("?"))
	tab.Until("help is there", `document.querySelector("dialog .help")`)
	tab.Do("keys do nothing below it", chromedp.KeyEvent("g"), chromedp.KeyEvent(kb.Escape))
	tab.Until("help is gone", `!document.querySelector("dialog") && location.hash.startsWith("#/instances")`)
	if got := changesOf(f); !slices.Equal(got, []string{"kill orders-3"}) {
		t.Errorf("asked for %q", got)
	}
	// Tab goes through the page and comes out of it again.
	tab.Do("graph", chromedp.KeyEvent("g"))
	tab.Until("the graph", `document.querySelectorAll("[data-service]").length > 8`)
	seen := map[string]bool{}
	for range 60 {
		tab.Do("tab", chromedp.KeyEvent(kb.Tab))
		seen[tab.Text(`(document.activeElement.dataset.service ?? document.activeElement.textContent).slice(0, 20)`)] = true
	}
	for _, want := range []string{"Skip to the content", "Calls", "orders", "As a table"} {
		if !slices.ContainsFunc(slices.Collect(keys(seen)), func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("Tab does not come to %s: %v", want, seen)
		}
	}
	tab.Do("a service", chromedp.EvaluateAsDevTools[chromedp.Void](`document.querySelector("[data-service=gateway]").focus()`), chromedp.KeyEvent(kb.ArrowRight))
	tab.Until("an arrow leads to a neighbour", `["cart", "catalog", "orders"].includes(document.activeElement.dataset.service)`)
}

func keys(m map[string]bool) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// What comes from outside is shown as it is, and never becomes part of the page; both languages and schemes are kept.
func TestRealTextStaysText(t *testing.T) {
	f := shop()
	f.trouble()
	const evil = `<img src=x onerror="document.title='had'"><script>document.title='had'</script>`
	f.happen("orders", "orders-1", "frozen", evil)
	f.get("cart-1").Role = evil
	f.get("cart-2").Ejected = []string{evil}
	f.letters[0].LastError, f.letters[0].Data = evil, evil
	f.traces[2].Root, f.traces[2].Tree[0].Name, f.traces[2].Tree[1].Error = evil, evil, evil
	tab := visit(t, f, "#/")
	for name, hash := range views(f) {
		tab.Do("go to "+name, chromedp.EvaluateAsDevTools[chromedp.Void](fmt.Sprintf("location.hash = %q", hash)))
		tab.Until(name+" is drawn", isDrawn)
		if n := pagetest.Value[int](tab, `document.querySelectorAll("img, main script").length`); n > 0 {
			t.Errorf("%s: text has become %d elements", name, n)
		}
	}
	tab.Until("it is shown", `location.hash = "#/events", document.querySelector("main").textContent.includes("<img src=x")`)
	tab.Click("#top [lang=zh-CN]")
	tab.Until("it is in Chinese", `document.documentElement.lang === "zh-CN" && document.querySelector("main h1").textContent === "事件"`)
	tab.Do("load it again", chromedp.Reload())
	tab.Until("it still is", `document.documentElement.lang === "zh-CN" && document.querySelector("main h1").textContent === "事件"`)
	for _, line := range tab.Complaints() {
		t.Errorf("in the browser's console: %s", line)
	}
}
