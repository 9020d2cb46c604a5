//go:build real && linux

package report_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/holdfast-go/holdfast/drill/report"
)

// browser starts a Chromium without a window. That there is none is a failure: a page that nobody looked at is not known to
// work.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("there is no Chromium in PATH, which this test needs: install the package chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()))
	for _, flag := range []string{
		"no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	// Not bound to t's context, which ends before the cleanup that closes the browser in order.
	allocator, release := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, stop := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		limit, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		_ = chromedp.Cancel(limit)
		stop()
		release()
	})
	return ctx
}

// The page in a browser: what its script does, that its policy stops none of it, that it asks for nothing, and that it is
// nowhere wider than the window.
func TestRealPage(t *testing.T) {
	var page bytes.Buffer
	if err := report.HTML(&page, badSample(), long()); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var asked, said []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if asked = append(asked, r.URL.Path); r.URL.Path == "/" {
			_, _ = w.Write(page.Bytes())
		}
	}))
	defer server.Close()

	ctx, cancel := context.WithTimeout(browser(t), time.Minute)
	defer cancel()
	if err := chromedp.Listen(ctx, func(event any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			if !strings.HasSuffix(e.Entry.URL, "/favicon.ico") {
				said = append(said, e.Entry.Text)
			}
		case *runtime.EventExceptionThrown:
			said = append(said, e.ExceptionDetails.Text)
		}
	}); err != nil {
		t.Fatal(err)
	}
	do := func(steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			t.Fatal(err)
		}
	}
	is := func(what, expression, want string) {
		t.Helper()
		got, err := chromedp.Run(ctx, chromedp.Evaluate[string]("String("+expression+")"))
		if err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q: %v", what, got, want, err)
		}
	}

	do(chromedp.EmulateViewport(1200, 800), chromedp.Navigate(server.URL))
	const found = `document.querySelector("form.filter output").textContent`
	is("all that failed", found, "41 of 41")
	do(chromedp.SendKeys("form.filter input", "browse eof"))
	is("what is looked for", found, "1 of 41")
	is("the rows", `[...document.querySelectorAll(".failures tbody tr")].filter((r) => r.offsetParent !== null).length`, "1")
	const readout = `document.querySelector(".readout").textContent`
	do(chromedp.EvaluateAsDevTools[chromedp.Void](`document.querySelector(".plots").focus()`), chromedp.KeyEvent(kb.ArrowRight))
	is("an arrow key", readout, "0.00 s to 0.25 s: ")
	do(chromedp.KeyEvent(kb.ArrowRight + kb.ArrowRight))
	is("two more", readout, "0.50 s to 0.75 s: ")

	do(chromedp.EvaluateAsDevTools[chromedp.Void](`document.querySelectorAll("details").forEach((d) => { d.open = true })`))
	for _, width := range []int{320, 390, 768, 1200} {
		do(chromedp.EmulateViewport(int64(width), 800))
		is(fmt.Sprintf("the width of the page in a window of %d", width), `document.documentElement.scrollWidth`, strconv.Itoa(width))
	}
	for _, scheme := range []string{"light", "dark"} {
		params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
		do(func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
			_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, params)
			return chromedp.Void{}, err
		})
		is("the scheme", `matchMedia("(prefers-color-scheme: dark)").matches`, strconv.FormatBool(scheme == "dark"))
		poor, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](contrast))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range poor {
			t.Errorf("%s: %s", scheme, text)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(said) > 0 {
		t.Errorf("the browser complains: %s", strings.Join(said, "\n"))
	}
	for _, path := range asked {
		if path != "/" && path != "/favicon.ico" { // browsers ask every server for that
			t.Errorf("the page asked for %s", path)
		}
	}
}

// contrast finds text that has less than 4.5 to 1 to what is behind it (WCAG 2, AA).
const contrast = `(() => {
  const rgb = (c) => c.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0.99) return c;
    }
    return [255, 255, 255];
  };
  const poor = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; (n = walk.nextNode()); ) {
    const e = n.parentElement;
    if (!n.data.trim() || ["SCRIPT", "STYLE", "title", "OPTION"].includes(e.tagName)) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(rgb(e.namespaceURI.endsWith("svg") ? style.fill : style.color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.add(e.tagName + "." + (e.className.baseVal ?? e.className) + ": " + ratio.toFixed(2) + " to 1");
  }
  return [...poor];
})()`
