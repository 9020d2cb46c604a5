//go:build real && linux

package shop_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// pageLimit is how long a page may take to become what it should be.
const pageLimit = 30 * time.Second

// openBrowser starts a Chromium without a window. That there is none is a failure: a storefront that nobody looked at is
// not known to work.
func openBrowser(t *testing.T) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("there is no Chromium in PATH, which this test needs: install the package chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()))
	for _, flag := range []string{
		"no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	// Not bound to t's context, which ends before the cleanup that closes the browser in order.
	allocator, release := chromedp.NewExecAllocator(context.Background(), options...)
	browser, stop := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		limit, cancel := context.WithTimeout(browser, 20*time.Second)
		defer cancel()
		_ = chromedp.Cancel(limit)
		stop()
		release()
	})
	if err := chromedp.Do(browser); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return browser
}

// visitor is a customer with a tab of their own, who has not been here before. Its methods end the test when the page does
// not do what it should.
type visitor struct {
	t    *testing.T
	ctx  context.Context
	base string
	// expected are parts of addresses whose failures are asked for, and so may be in the console.
	expected []string

	mu      sync.Mutex
	console []string // errors and warnings
}

func newVisitor(t *testing.T, browser context.Context, base string) *visitor {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	v := &visitor{t: t, ctx: ctx, base: base}
	if err := chromedp.Listen(ctx, v.hear); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	return v
}

// hear notes what the page writes to the console.
func (v *visitor) hear(event any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		var words []string
		for _, a := range e.Args {
			words = append(words, string(a.Value)+a.Description)
		}
		v.console = append(v.console, fmt.Sprintf("console.%v: %s", e.Type, strings.Join(words, " ")))
	case *runtime.EventExceptionThrown:
		v.console = append(v.console, fmt.Sprintf("exception: %s %s", e.ExceptionDetails.Text, description(e.ExceptionDetails)))
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			v.console = append(v.console, fmt.Sprintf("%v: %s (%s)", e.Entry.Level, e.Entry.Text, e.Entry.URL))
		}
	}
}

func description(e *runtime.ExceptionDetails) string {
	if e.Exception == nil {
		return ""
	}
	return e.Exception.Description
}

// checkConsole fails for everything that the page complained about, except what was expected.
func (v *visitor) checkConsole() {
	v.t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, line := range v.console {
		expected := false
		for _, part := range v.expected {
			expected = expected || strings.Contains(line, part)
		}
		if !expected {
			v.t.Errorf("in the console: %s", line)
		}
	}
}

func (v *visitor) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, pageLimit)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		v.t.Fatalf("%s: %v\n%s", what, err, v.look())
	}
}

// look is what a person would see, for messages.
func (v *visitor) look() string {
	ctx, cancel := context.WithTimeout(v.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 1500)`))
	if err != nil {
		return "and the page cannot be looked at: " + err.Error()
	}
	return "the page is " + text
}

// ask evaluates an expression in the page.
func ask[T any](v *visitor, expression string) T {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, pageLimit)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		v.t.Fatalf("%s: %v\n%s", expression, err, v.look())
	}
	return value
}

// see waits until an expression is true in the page.
func (v *visitor) see(what, expression string) {
	v.t.Helper()
	poll := chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(pageLimit))
	v.do("not seen: "+what, poll)
}

func (v *visitor) open(path string) {
	v.t.Helper()
	v.do("open "+path, chromedp.Navigate(v.base+path))
}

func (v *visitor) click(selector string) {
	v.t.Helper()
	css := chromedp.CSS(selector)
	v.do("click "+selector, chromedp.WaitVisible(css), chromedp.ScrollIntoView(css), chromedp.Click(css))
}

func (v *visitor) press(keys string, modifiers ...chromedp.Modifier) {
	v.t.Helper()
	v.do(fmt.Sprintf("press %q", keys), chromedp.KeyEvent(keys, chromedp.KeyModifiers(modifiers...)))
}

// tabTo goes on with Tab, or backwards with Shift and Tab, until the focused element matches. Every stop on the way has to
// be one that can be seen.
func (v *visitor) tabTo(selector string, modifiers ...chromedp.Modifier) {
	v.t.Helper()
	const far = 150
	for range far {
		v.press(kb.Tab, modifiers...)
		if lost := ask[string](v, `(() => {
			const e = document.activeElement;
			if (!e || e === document.body) return "";
			const box = e.getBoundingClientRect(), style = getComputedStyle(e);
			if (box.width === 0 || box.right <= 0 || box.bottom <= 0 || style.visibility === "hidden") return "is not on the screen: " + e.outerHTML;
			if (!e.matches(":focus-visible") || style.outlineStyle === "none") return "does not look focused: " + e.outerHTML;
			return "";
		})()`); lost != "" {
			v.t.Errorf("what Tab leads to %.300s", lost)
		}
		if ask[bool](v, fmt.Sprintf(`document.activeElement?.matches(%q) ?? false`, selector)) {
			return
		}
	}
	v.t.Fatalf("Tab does not lead to %s\n%s", selector, v.look())
}

// checkPage looks at what every page has to have: pictures that load, names for all that can be used, one heading, and
// nothing that sticks out at the side.
func (v *visitor) checkPage(name string) {
	v.t.Helper()
	v.see("all pictures of "+name+" loaded", `(() => {
		const missing = [...document.images].find((i) => !i.complete || i.naturalWidth === 0);
		missing?.scrollIntoView({ block: "center", behavior: "instant" }); // some wait until they are looked at
		return !missing;
	})()`)
	for _, fault := range ask[[]string](v, `(() => {
		const faults = [], wide = document.documentElement.clientWidth;
		const describe = (e) => e.outerHTML.slice(0, 160);
		const visible = (e) => e.checkVisibility({ visibilityProperty: true });
		if (!document.title || !document.documentElement.lang) faults.push("no title or language");
		if (document.querySelectorAll("h1").length !== 1) faults.push(document.querySelectorAll("h1").length + " h1");
		for (const img of document.images) if (!img.hasAttribute("alt")) faults.push("no alternative text: " + describe(img));
		for (const e of document.querySelectorAll("a, button, input")) {
			const label = e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent || e.querySelector("img")?.alt || "";
			if (visible(e) && !e.closest("[aria-hidden=true]") && !label.trim()) faults.push("no name: " + describe(e));
		}
		for (const e of document.querySelectorAll("button, input")) {
			const box = e.getBoundingClientRect();
			if (visible(e) && (box.width < 24 || box.height < 24)) faults.push("too small to hit: " + describe(e));
		}
		if (document.documentElement.scrollWidth > wide) faults.push("the page is " + document.documentElement.scrollWidth + " wide, the window " + wide);
		const scrolls = (e) => { // by itself, within the window
			for (let p = e.parentElement; p && p !== document.body; p = p.parentElement)
				if (getComputedStyle(p).overflowX !== "visible" && p.getBoundingClientRect().right <= wide + 1) return true;
			return false;
		};
		for (const e of document.querySelectorAll("body *")) {
			const box = e.getBoundingClientRect();
			if (box.width === 0 || box.height === 0 || e.matches(".skip") || !visible(e)) continue;
			if ((box.right > wide + 1 || box.left < -1) && !scrolls(e)) faults.push("sticks out from " + box.left + " to " + box.right + " of " + wide + ": " + describe(e));
		}
		return faults.slice(0, 10);
	})()`) {
		v.t.Errorf("%s: %s", name, fault)
	}
}
