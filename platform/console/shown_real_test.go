//go:build real && linux

package console_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/holdfast-go/holdfast/internal/pagetest"
	"github.com/holdfast-go/holdfast/platform/control"
)

// A dead letter is shown with what is in it: only the space between the parts of JSON is the page's.
func TestRealLettersAreShownAsTheyAre(t *testing.T) {
	f := shop()
	f.trouble()
	letters := []struct {
		data, encoding string
		size           int
		want           string
	}{
		{`{"id":9007199254740993,"id":-1.0e+2, "price":10.00,"huge":1e400,"none":{ },"list":[[],{"a":null}],"s":"a\"{,}:[] \\"}` + "\n", "text", 0, `{
  "id": 9007199254740993,
  "id": -1.0e+2,
  "price": 10.00,
  "huge": 1e400,
  "none": {},
  "list": [
    [],
    {
      "a": null
    }
  ],
  "s": "a\"{,}:[] \\"
}`},
		{"18446744073709551615", "text", 0, "18446744073709551615"},
		{`"\u00e9\/ü  ü"`, "text", 0, `"\u00e9\/ü  ü"`},
		{`{"order": 1, `, "text", 2048, `{"order": 1, ` + "\n… 2 KiB"},
		{"", "", 0, ""},
		{"AAECAw==", "base64", 4, "4 B, not text, as base64:\nAAECAw=="},
		{"AAEC", "base64", 2048, "2 KiB, not text, as base64:\nAAEC\n… 2 KiB"},
		{strings.Repeat("[", 5000) + "0" + strings.Repeat("]", 5000), "text", 0, "-"},
	}
	f.letters = nil
	for i, l := range letters {
		if l.size == 0 {
			l.size = len(l.data)
		}
		f.letters = append(f.letters, control.DeadLetter{
			Position: strconv.Itoa(i + 1), ID: strconv.Itoa(i), Data: l.data, Encoding: l.encoding, Size: l.size, Attributes: map[string]string{"tenant": ""},
		})
	}
	tab := visit(t, f, "#/queues/payments.settled/orders")
	tab.Until("the letters are there", fmt.Sprintf(`document.querySelectorAll("[data-letter]").length === %d`, len(letters)))
	for i, l := range letters {
		if got := tab.Text(fmt.Sprintf(`document.querySelector("[data-letter='%d'] pre").textContent`, i+1)); l.want != "-" && got != l.want {
			t.Errorf("%q is shown as %q, want %q", l.data, got, l.want)
		}
	}
	if n := pagetest.Value[int](tab, `document.querySelector("[data-letter='8'] pre").textContent.length`); n < 10_001 || n > 2<<20 {
		t.Errorf("what is deep takes %d characters", n)
	}
	if got := tab.Text(`document.querySelector("[data-letter='1'] dl").textContent`); !strings.Contains(got, "tenant") {
		t.Errorf("an empty attribute is not shown: %s", got)
	}
}

// many gives a group so many dead letters.
func (f *fake) many(n int) {
	f.trouble()
	one := f.letters[0]
	f.letters = nil
	for i := range n {
		one.Position, one.ID = strconv.Itoa(1001+i), strconv.Itoa(i)
		f.letters = append(f.letters, one)
	}
}

// count is how many changes begin with a word, and have been asked for.
func (f *fake) count(word string) int {
	n := 0
	for _, c := range changesOf(f) {
		if strings.HasPrefix(c, word) {
			n++
		}
	}
	return n
}

const lettersShown = `document.querySelectorAll("[data-letter]").length`

// chooseAll has all of so many letters listed and chosen.
func chooseAll(tab *pagetest.Tab, of int) {
	for n := 50; n < of; n += 50 {
		tab.Until(fmt.Sprintf("%d letters", n), fmt.Sprintf(lettersShown+` === %d`, n))
		tab.Do("more", chromedp.EvaluateAsDevTools[chromedp.Void](`document.querySelector(".letters + button").click()`))
	}
	tab.Until("all are there", fmt.Sprintf(lettersShown+` === %d`, of))
	tab.Do("choose all", chromedp.EvaluateAsDevTools[chromedp.Void](`document.querySelector(".filter .check input").click(), scrollTo(0, 0)`))
}

// As many letters as are chosen are settled, however many the server takes at once. What fails half way is said, the others stay
// chosen, and can be tried again.
func TestRealManyLetters(t *testing.T) {
	f := shop()
	f.many(450)
	f.refused = "1240"
	tab := visit(t, f, "#/queues/payments.settled/orders")
	chooseAll(tab, 450)
	tab.Click(".filter [data-action=replay]")
	tab.Click("dialog [data-confirm]")
	tab.Until("what went wrong is said", `document.querySelector("dialog .trouble").textContent.includes("the broker does not answer")`)
	tab.Until("those that are left are chosen", lettersShown+` === 250 && document.querySelectorAll("[data-letter] input:checked").length === 250 && document.querySelector(".filter [data-action=replay]").textContent === "Replay 250"`)
	f.mu.Lock()
	f.refused = ""
	f.mu.Unlock()
	tab.Click("dialog [data-confirm]")
	tab.Until("it is said how many they were", `[...document.querySelectorAll(".toast")].some((n) => n.textContent.includes("450 messages go to orders again"))`)
	tab.Until("none is left", lettersShown+` === 0 && !document.querySelector("dialog")`)
	if n := f.count("replay ["); n != 3 {
		t.Errorf("asked %d times, want 3", n)
	}
}

// Who settles one letter has the others chosen still, as their boxes say.
func TestRealOneLetterOfSeveral(t *testing.T) {
	f := shop()
	f.trouble()
	tab := visit(t, f, "#/queues/payments.settled/orders")
	tab.Until("three letters", lettersShown+` === 3`)
	tab.Do("choose one", chromedp.Click("[data-letter='42'] input"))
	tab.Click("[data-letter='41'] [data-action=replay]")
	tab.Click("dialog [data-confirm]")
	tab.Until("two are left", lettersShown+` === 2`)
	tab.Until("one of them is chosen", `document.querySelector("[data-letter='42'] input").checked && document.querySelector(".filter [data-action=replay]").textContent === "Replay 1"`)
}

// hurry has the page end soon what it ends after a while.
const (
	hurry    = `window.patience = AbortSignal.timeout, AbortSignal.timeout = () => patience.call(AbortSignal, 300), 0`
	noHurry  = `AbortSignal.timeout = patience, window.begun = undefined, 0`
	hurried  = `(window.begun ??= performance.now()) < performance.now() - 900`
	isToldOf = `[...document.querySelectorAll(".toast")].some((n) => n.textContent.includes(%q))`
)

// holdUp has the fake do nothing until the function that is returned is called.
func (f *fake) holdUp() func() {
	hold := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hold = hold
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.hold = nil
		close(hold)
	}
}

// What takes as long as there are letters is not ended by the page, and its end is told to who has closed the question, too.
func TestRealLettersTakeTheirTime(t *testing.T) {
	for _, closed := range []bool{false, true} {
		f := shop()
		f.trouble()
		tab := visit(t, f, "#/queues/payments.settled/orders")
		tab.Until("three letters", lettersShown+` === 3`)
		release := f.holdUp()
		pagetest.Value[int](tab, hurry)
		tab.Click(".filter [data-action=replay]")
		tab.Click("dialog [data-confirm]")
		tab.Until("it takes longer than other things may", hurried)
		if got := tab.Text(`document.querySelector("dialog .trouble").textContent`); got != "" {
			t.Errorf("the page says %q", got)
		}
		if closed {
			tab.Do("close the question", chromedp.KeyEvent(kb.Escape))
			tab.Until("it is closed", `!document.querySelector("dialog")`)
		}
		pagetest.Value[int](tab, noHurry)
		release()
		tab.Until("it is done", fmt.Sprintf(isToldOf, "3 messages go to orders again")+` && `+lettersShown+` === 0 && !document.querySelector("dialog")`)
		if got, want := changesOf(f), []string{"replay [] true"}; !slices.Equal(got, want) {
			t.Errorf("asked for %q, want %q", got, want)
		}
	}
}

// Who closes the question while many letters are settled ends it after those that were named; what goes wrong then is said all the same.
func TestRealLettersAreLeft(t *testing.T) {
	f := shop()
	f.many(450)
	tab := visit(t, f, "#/queues/payments.settled/orders")
	chooseAll(tab, 450)
	begin := func() func() {
		release := f.holdUp()
		tab.Click(".filter [data-action=discard]")
		tab.Click("dialog [data-confirm]")
		tab.Do("close the question", chromedp.KeyEvent(kb.Escape))
		tab.Until("it is closed", `!document.querySelector("dialog")`)
		return release
	}
	begin()()
	tab.Until("it is said how many they were", fmt.Sprintf(isToldOf, "200 messages of orders were discarded"))
	tab.Until("the others are chosen still", lettersShown+` === 250 && document.querySelector(".filter [data-action=discard]").textContent === "Discard 250"`)
	f.mu.Lock()
	f.refused = "1201"
	f.mu.Unlock()
	begin()()
	tab.Until("it is said that it went wrong", fmt.Sprintf(isToldOf, "the broker does not answer"))
	if got := pagetest.Value[int](tab, lettersShown); got != 250 {
		t.Errorf("%d letters are left, want 250", got)
	}
	if n := f.count("discard ["); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

// To go back from a number of instances takes as long as they do: the page neither ends it nor stays in the way.
func TestRealScalingBackTakesItsTime(t *testing.T) {
	f := shop()
	tab := visit(t, f, "#/")
	for _, service := range []string{"orders", "catalog"} { // catalog is scaled by its load
		tab.Do("go to the service", chromedp.EvaluateAsDevTools[chromedp.Void](`location.hash = "#/service/`+service+`"`))
		was := tab.Text(`document.querySelector(".wanted").textContent`)
		tab.Click("[data-action=scale]")
		tab.Click("dialog [data-confirm]")
		tab.Until("there is a way back", `document.querySelector(".toast button:not(.quiet)")`)
		release := f.holdUp()
		pagetest.Value[int](tab, hurry)
		tab.Click(".toast button:not(.quiet)")
		tab.Until("it takes longer than other things may", hurried)
		tab.Until("nothing is in the way", `!document.querySelector(".toast button:not(.quiet)")`)
		if n := pagetest.Value[int](tab, `document.querySelectorAll(".toast.is-bad").length`); n > 0 {
			t.Errorf("%s: the page says that it went wrong", service)
		}
		pagetest.Value[int](tab, noHurry)
		release()
		want := map[string]string{"orders": was, "catalog": "3"}[service]
		tab.Until("it is as it was", `document.querySelector(".wanted").textContent === "`+want+`"`)
	}
}

// A restart that has ended at once is told once.
func TestRealRestartIsToldOnce(t *testing.T) {
	tab := visit(t, shop(), "#/instance/orders-1")
	tab.Click(".panel [data-action=restart]")
	tab.Click("dialog [data-confirm]")
	tab.Until("it is told", fmt.Sprintf(isToldOf, "orders-1 has been restarted")+` && !document.querySelector("dialog")`)
	if got := tab.Text(`document.querySelector("#toasts").textContent`); strings.Contains(got, "is being") {
		t.Errorf("the page says %q", got)
	}
}

// No more instances are offered than a service can have.
func TestRealMostInstances(t *testing.T) {
	f := shop()
	f.services[4].Replicas = control.MaxReplicas - 1
	tab := visit(t, f, "#/service/orders")
	tab.Click("[data-action=scale]")
	tab.Until("it asks", `document.querySelector("#scale-to")`)
	if got := tab.Text(`document.querySelector("#scale-to").max`); got != strconv.Itoa(control.MaxReplicas) {
		t.Errorf("up to %s are offered", got)
	}
	tab.Click("dialog [data-confirm]")
	tab.Until("there cannot be more", fmt.Sprintf(`document.querySelector(".wanted").textContent === "%d" && document.querySelector("[data-action=scale]").disabled`, control.MaxReplicas))
}

// A call is listed from its first span on; what becomes known of it later is shown, too.
func TestRealCallsChange(t *testing.T) {
	f := shop()
	tab := visit(t, f, "#/calls")
	row := fmt.Sprintf(`document.querySelector("[data-trace='%s']")`, f.traces[1].ID)
	tab.Until("the call is there", row)
	before := tab.Text(row + `.querySelector("svg").innerHTML`)
	f.mu.Lock()
	c := &f.traces[1]
	c.Root, c.Service, c.Status, c.Error = "GET /late", "gateway", control.TraceError, "UNAVAILABLE: later"
	c.Duration, c.Spans, c.Attempts, c.Services = 7*time.Second, 99, 77, []string{"gateway", "orders"}
	f.mu.Unlock()
	tab.Until("it is shown as it is", row+`.querySelector(".root").textContent === "GET /late" && `+row+`.textContent.includes("gateway · failed · UNAVAILABLE: later") &&
		`+row+`.querySelector("b").textContent === "7 s" && `+row+`.dataset.status === "error" && `+row+`.title === "99 spans, 77 attempts: gateway, orders" && `+row+`.querySelector("svg").classList.contains("is-bad")`)
	if after := tab.Text(row + `.querySelector("svg").innerHTML`); after == before {
		t.Error("it still has the sign of a call that went well")
	}
}

// A list that takes longer than the time between two is waited for, and not asked for again and again.
func TestRealSlowCalls(t *testing.T) {
	f := shop()
	f.slow = 2500 * time.Millisecond
	tab := visit(t, f, "#/calls")
	tab.Until("the calls are there", `document.querySelectorAll("[data-trace]").length > 50`)
}

// set sets the platform's clock.
func (f *fake) set(by time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(by)
	f.wake()
}

// Curves go on when the platform's clock has been set back.
func TestRealCurvesGoOn(t *testing.T) {
	f := shop()
	tab := visit(t, f, "#/")
	goOn := func(when string) {
		t.Helper()
		for hash, title := range map[string]string{"#/service/orders": "orders", "#/instance/orders-2": "orders-2"} {
			tab.Do("go to "+hash, chromedp.EvaluateAsDevTools[chromedp.Void](`window.drawn = undefined, location.hash = "`+hash+`"`))
			curve := `[...document.querySelectorAll("main h2")].find((n) => n.textContent === "` + title + `")?.closest(".card").querySelector(".spark-line")?.getAttribute("d")`
			tab.Until("there is a curve at "+hash, curve)
			tab.Until(hash+" goes on "+when, `(window.drawn ??= (`+curve+`).split("L").length) + 1 < (`+curve+`).split("L").length`)
		}
	}
	goOn("as it is")
	tab.Do("go to the instance", chromedp.EvaluateAsDevTools[chromedp.Void](`location.hash = "#/instance/orders-2"`))
	curve := `document.querySelector(".panel .spark-line")?.getAttribute("d")?.split("L").length`
	tab.Until("there is a curve", curve+` > 1`)
	f.set(-time.Hour)
	tab.Until("the curve of the panel that was open goes on", `(window.open1 ??= `+curve+`) + 2 < `+curve)
	goOn("when the clock was set back")
}

// An edge that has become silent stays for its minute, and no longer, when the platform's clock is set.
func TestRealSilentEdges(t *testing.T) {
	f := shop()
	tab := visit(t, f, "#/service/payment")
	fromOrders := `[...document.querySelectorAll(".edge-list li")].find((l) => l.querySelector("a").textContent === "orders" && !l.querySelector(".chip"))`
	tab.Until("orders calls payment", fromOrders)
	f.mu.Lock()
	f.edges = slices.DeleteFunc(f.edges, func(e control.Edge) bool { return e.From == "orders" && e.To == "payment" })
	f.mu.Unlock()
	f.set(0)
	tab.Until("it is silent", fromOrders+`?.textContent.includes("no calls")`)
	f.set(time.Hour)
	tab.Until("the clock has been set on", `(window.since ??= performance.now()) < performance.now() - 2500`)
	if !pagetest.Value[bool](tab, `Boolean(`+fromOrders+`)`) {
		t.Error("it is gone at once when the clock is set on")
	}
	f.set(-2 * time.Hour)
	pagetest.Value[int](tab, `window.was = performance.now.bind(performance), performance.now = () => was() + 61000, 0`)
	tab.Until("it is gone after its minute", `!`+fromOrders)
}

// An instance that has gone is shown as gone, and when it has come again it can be steered.
func TestRealInstanceComesAgain(t *testing.T) {
	f := shop()
	tab := visit(t, f, "#/instance/orders-3")
	tab.Until("it is there", `document.querySelectorAll(".panel [data-action]").length === 3 && document.querySelector(".panel .facts").textContent.includes("PID")`)
	f.mu.Lock()
	was := slices.Clone(f.all)
	f.all = slices.DeleteFunc(f.all, func(in *control.LiveInstance) bool { return in.ID == "orders-3" })
	f.wake()
	f.mu.Unlock()
	f.mu.Lock()
	f.happen("orders", "orders-3", "stopped", "orders-3 has left")
	f.wake()
	f.mu.Unlock()
	tab.Until("it is gone", `document.querySelector(".panel .event-list").textContent.includes("has left") && !document.querySelector(".panel [data-action]") && !document.querySelector(".panel .facts").textContent.includes("PID")`)
	f.mu.Lock()
	f.all = was
	f.wake()
	f.mu.Unlock()
	tab.Until("it can be steered again", `document.querySelectorAll(".panel [data-action]").length === 3`)
}

// What fails at the edge is a problem, also where no instance of any service has failed: it is what users see.
func TestRealFailuresAtTheEdge(t *testing.T) {
	f := shop()
	tab := visit(t, f, "#/")
	verdict := `document.body.dataset.verdict`
	tab.Until("all is well", verdict+` === "good" && document.querySelector(".verdict").textContent === "All is well"`)
	fail := func(share float64) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.lost = share
		f.wake()
	}
	problem := `document.querySelector(".problems a[href='#/calls?status=error&service=edge']")`
	node := `document.querySelector("[data-service=edge]")`
	fail(0.05)
	tab.Until("some fail", verdict+` === "warn" && `+problem+`?.textContent.startsWith("Calls from outside: 5 % of ") && `+node+`.matches(".is-warn")`)
	fail(1)
	tab.Until("all fail", verdict+` === "bad" && `+problem+`?.textContent.startsWith("Calls from outside: 100 % of ") && `+node+`.matches(".is-bad")`)
	if got := tab.Text(`document.querySelector(".verdict").textContent + document.querySelectorAll(".problems li").length`); got != "One thing is wrong1" {
		t.Errorf("the page says %q", got)
	}
	tab.Click("button[lang=zh-CN]")
	tab.Until("it is said in Chinese", problem+`?.textContent.includes("失败 100 %") && !`+problem+`.textContent.includes("outside")`)
	tab.Click(`.problems a[href*="service=edge"]`)
	tab.Until("they are listed", `document.querySelector("[data-trace='`+f.traces[2].ID+`']") && document.querySelector("[data-status=error][aria-pressed=true]") && document.querySelector("main select").value === "edge"`)
	tab.Do("go back", chromedp.EvaluateAsDevTools[chromedp.Void](`location.hash = "#/"`))
	fail(0)
	tab.Until("all is well again", verdict+` === "good" && !`+problem)
}

// broken are the words of the table of instances that stand in several lines, cells with more than there is room for, and rows that
// are higher than four lines; and whether the page can be moved sideways.
const broken = `(() => {
  const table = document.querySelector(".instances");
  const wrong = [];
  const out = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  if (out > 0) wrong.push("the page is wider than the window by " + out);
  for (const row of table.querySelectorAll("tr")) if (innerWidth > 720 && row.offsetHeight > 100) wrong.push("a row is " + row.offsetHeight + " high: " + row.textContent);
  for (const cell of table.querySelectorAll("th, td")) {
    if (cell.offsetWidth && cell.scrollWidth > cell.clientWidth) wrong.push("cell " + cell.cellIndex + " has " + cell.clientWidth + " for " + cell.scrollWidth + ": " + cell.textContent);
  }
  const texts = document.createTreeWalker(table, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode;
    if (node.parentNode.closest("caption") || !node.parentNode.offsetWidth) continue;
    for (const word of node.data.matchAll(/[\w/]+/g)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map((r) => Math.round(r.top))).size > 1) wrong.push("broken: " + word[0]);
    }
  }
  const heads = [...table.querySelectorAll("thead th")].filter((c) => c.offsetWidth);
  if (innerWidth > 720 && !heads.some((c) => c.cellIndex === 2)) wrong.push("it does not say who leads");
  return wrong.slice(0, 8);
})()`

// Whatever the width of the window, all that the table of instances says can be read.
func TestRealInstancesCanBeRead(t *testing.T) {
	f := newFake(1, strings.Fields("gateway:2 catalog:2 carts:3 inventory:3 orders:3 payment:3 shipping:3 analytics:3 notifications:12"), strings.Fields("edge>gateway gateway>orders payment~payments.settled>orders orders~orders.paid>shipping"))
	f.trouble()
	f.get("notifications-12").Role = "leader of notifications"
	f.get("inventory-2").Role = "leader of inventory/1, inventory/3, inventory/4 and 5 more"
	f.get("orders-2").State = "crash-looping"
	tab := visit(t, f, "#/instances")
	for _, lang := range []string{"en", "zh"} {
		for _, width := range []int64{1280, 1100, 1400, 1680, 900, 721, 390} {
			tab.Size(width, 900)
			tab.Until("it is as wide", fmt.Sprintf(`innerWidth === %d && document.querySelector("tr[data-instance='notifications-12'] [data-action]")`, width))
			for _, line := range pagetest.Value[[]string](tab, broken) {
				t.Errorf("%s, %d wide: %s", lang, width, line)
			}
		}
		if got := tab.Text(`document.querySelector("tr[data-instance='notifications-12'] td:nth-child(3)").textContent`); got != "notifications" {
			t.Errorf("%s: notifications-12 leads %q", lang, got)
		}
		tab.Click("button[lang=zh-CN], button[lang=en]")
	}
}
