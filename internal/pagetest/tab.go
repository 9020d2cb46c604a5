package pagetest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

const (
	// patience is how long a page may take to become what it should be. What is promised to be quicker is measured.
	patience = 30 * time.Second
	look     = 50 * time.Millisecond
)

// Browser starts a Chromium without a window. That there is none is a failure: a page that nobody looked at is not known to
// work. It ends with the test.
func Browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("there is no Chromium in PATH, which this test needs: install the package chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()))
	for _, flag := range []string{
		"no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	options = append(options, chromedp.Flag("lang", "en-GB"))
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
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx
}

// Tab is a tab of a visitor who has not been there before. Its methods end the test when the page does not do what it should.
type Tab struct {
	t   *testing.T
	ctx context.Context

	mu   sync.Mutex
	said []string
}

// NewTab opens a tab, for a user of its own. It is closed with the test.
func NewTab(t *testing.T, browser context.Context) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	return newTab(t, ctx, cancel)
}

// Another opens a tab beside this one, for the same user: with the same cookies and storage.
func (tab *Tab) Another() *Tab {
	tab.t.Helper()
	ctx, cancel := chromedp.NewContext(tab.ctx)
	return newTab(tab.t, ctx, cancel)
}

func newTab(t *testing.T, ctx context.Context, cancel context.CancelFunc) *Tab {
	t.Helper()
	t.Cleanup(cancel)
	tab := &Tab{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, tab.hear); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	return tab
}

// hear notes what the page complains about.
func (tab *Tab) hear(event any) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type != "error" && e.Type != "warning" && e.Type != "assert" {
			return
		}
		var words []string
		for _, a := range e.Args {
			words = append(words, string(a.Value)+a.Description)
		}
		tab.said = append(tab.said, fmt.Sprintf("console.%v: %s", e.Type, strings.Join(words, " ")))
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		tab.said = append(tab.said, "exception: "+text)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			tab.said = append(tab.said, fmt.Sprintf("%v: %s (%s)", e.Entry.Level, e.Entry.Text, e.Entry.URL))
		}
	}
}

// Complaints are what the page wrote to the console as errors and warnings since the last call.
func (tab *Tab) Complaints() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	said := tab.said
	tab.said = nil
	return said
}

// Do takes steps, and says in a failure what they were for.
func (tab *Tab) Do(what string, steps ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tab.t.Fatalf("%s: %v\n%s", what, err, tab.seen())
	}
}

// Go opens an address and waits until it is loaded.
func (tab *Tab) Go(url string) {
	tab.t.Helper()
	tab.Do("open "+url, chromedp.Navigate(url))
}

// Click clicks on the first element of a selector that can be seen, once there is one.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	tab.Do("click "+selector, chromedp.WaitVisible(selector), chromedp.Click(selector))
}

// Until waits until an expression is true.
func (tab *Tab) Until(what, expression string) {
	tab.t.Helper()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		ok, err := tab.truth(expression)
		if ok {
			return
		}
		if time.Now().After(end) {
			tab.t.Fatalf("not seen within %s: %s (%v)\n%s", patience, what, err, tab.seen())
		}
	}
}

func (tab *Tab) truth(expression string) (bool, error) {
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
}

// Text is what an expression is, as a string.
func (tab *Tab) Text(expression string) string {
	tab.t.Helper()
	return Value[string](tab, "String("+expression+")")
}

// Value is what an expression is; a promise is awaited.
func Value[T any](tab *Tab, expression string) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		tab.t.Fatalf("%.300s: %v\n%s", expression, err, tab.seen())
	}
	return v
}

// Scheme makes the visitor prefer "light" or "dark".
func (tab *Tab) Scheme(scheme string) {
	tab.t.Helper()
	params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}}
	tab.Do("prefer "+scheme, func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, params)
		return chromedp.Void{}, err
	})
}

// Size sets the size of the window.
func (tab *Tab) Size(width, height int64) {
	tab.t.Helper()
	tab.Do("resize", chromedp.EmulateViewport(width, height))
}

// Unguarded lets scripts be injected that the policy of the pages that are opened from now on would stop, as axe-core's parts
// are. What a page complains about in such a tab says nothing of its policy.
func (tab *Tab) Unguarded() {
	tab.t.Helper()
	tab.Do("do without policy", func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Call(ctx, page.SetBypassCSP, page.SetBypassCSPParams{Enabled: true})
		return chromedp.Void{}, err
	})
}

// Axe has a line for each rule of accessibility that the page violates as it is now.
func (tab *Tab) Axe(source string) []string {
	tab.t.Helper()
	if ok, _ := tab.truth("window.axe"); !ok {
		tab.Do("load axe-core", chromedp.EvaluateAsDevTools[chromedp.Void](source+"; 0"))
	}
	return Value[[]string](tab, axeRun)
}

// Shot keeps a picture of the window as NAME.png among the artefacts of the test (go test -artifacts), and in the directory that
// the environment variable HOLDFAST_PICTURES names.
func (tab *Tab) Shot(name string) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	shot, err := chromedp.Run(ctx, func(ctx context.Context, _ *chromedp.Target) ([]byte, error) {
		r, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: "png"})
		if err != nil {
			return nil, err
		}
		return r.Data, nil
	})
	if err != nil {
		tab.t.Fatalf("take a picture of %s: %v", name, err)
	}
	for _, dir := range []string{tab.t.ArtifactDir(), os.Getenv("HOLDFAST_PICTURES")} {
		if dir == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name+".png"), shot, 0o644); err != nil { //nolint:gosec // pictures are for everybody
			tab.t.Fatal(err)
		}
	}
}

// seen is what a person would see, for messages.
func (tab *Tab) seen() string {
	ctx, cancel := context.WithTimeout(tab.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 2500)`))
	if err != nil {
		return err.Error()
	}
	return text
}
