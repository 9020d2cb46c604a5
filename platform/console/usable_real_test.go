//go:build real && linux

package console_test

import (
	"fmt"
	"math"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/pagetest"
)

const (
	// maxLoaded is what a view may load, as it goes over the wire, and maxPaint when a visitor sees something of it.
	maxLoaded = 400 << 10
	maxPaint  = time.Second
)

// views are all of the console's, by name. IDs are filled in from the system that is looked at.
func views(f *fake) map[string]string {
	return map[string]string{
		"graph": "#/", "service": "#/service/orders", "instances": "#/instances", "instance": "#/instance/orders-2", "calls": "#/calls",
		"call": "#/calls/" + f.traces[2].ID, "state": "#/state", "queues": "#/queues", "letters": "#/queues/payments.settled/orders",
		"policies": "#/policies", "logs": "#/logs", "events": "#/events",
	}
}

// isDrawn is true once a view has been filled, and follows the system.
const isDrawn = `document.body.dataset.live === "on" && document.querySelector("main h1, main h2") && !document.querySelector("main [aria-busy=true]")`

// Everybody can use each view: axe-core finds nothing, in light and dark, wide and narrow, in both languages.
func TestRealAccessibility(t *testing.T) {
	source, err := pagetest.AxeSource()
	if err != nil {
		t.Fatal(err)
	}
	f := shop()
	f.trouble()
	server := httptest.NewServer(f.handler())
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	browser := pagetest.Browser(t)
	for _, how := range []struct {
		scheme, lang string
		width        int64
	}{{"light", "en", 1280}, {"dark", "zh", 390}} {
		tab := pagetest.NewTab(t, browser)
		tab.Unguarded()
		tab.Scheme(how.scheme)
		tab.Size(how.width, 900)
		tab.Go(server.URL)
		pagetest.Value[int](tab, fmt.Sprintf(`localStorage.setItem("holdfast.lang", %q), 0`, how.lang))
		for name, hash := range views(f) {
			tab.Go(server.URL + "/?" + name + hash)
			tab.Until(name+" is drawn", isDrawn)
			for _, line := range tab.Axe(source) {
				t.Errorf("%s, %s, %s, %d wide: %s", name, how.scheme, how.lang, how.width, line)
			}
			if wide := pagetest.Value[int64](tab, `document.documentElement.scrollWidth`); wide > how.width {
				t.Errorf("%s, %s: is %d wide in a window of %d", name, how.lang, wide, how.width)
			}
		}
	}
}

// A visitor sees each view at once, has loaded little for it, and the browser finds nothing to complain about.
func TestRealFirstPaint(t *testing.T) {
	f := shop()
	f.trouble()
	server := httptest.NewServer(f.handler())
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	browser := pagetest.Browser(t)
	for name, hash := range views(f) {
		// What is promised is of the page. Beside it run other tests, so that the fastest of a few says it.
		var tab *pagetest.Tab
		var loaded int64
		var foreign []string
		paint := time.Duration(math.MaxInt64)
		for try := 0; try < 5 && paint > maxPaint; try++ {
			tab = pagetest.NewTab(t, browser) // with nothing in its cache
			tab.Go(server.URL + "/" + hash)
			tab.Until(name+" is drawn", isDrawn)
			tab.Until(name+" is painted", `performance.getEntriesByName("first-contentful-paint").length`)
			paint = min(paint, time.Duration(pagetest.Value[float64](tab, `performance.getEntriesByName("first-contentful-paint")[0].startTime`)*float64(time.Millisecond)))
			loaded = pagetest.Value[int64](tab, `performance.getEntriesByType("navigation").concat(performance.getEntriesByType("resource")).reduce((n, e) => n + e.transferSize, 0)`)
			foreign = pagetest.Value[[]string](tab, `performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith(location.origin + "/"))`)
			t.Logf("%s: %d bytes, painted after %s", name, loaded, paint)
		}
		if paint > maxPaint {
			t.Errorf("%s is painted after %s, which must be at most %s", name, paint, maxPaint)
		}
		if loaded == 0 || loaded > maxLoaded {
			t.Errorf("%s loads %d bytes, which must be at most %d", name, loaded, maxLoaded)
		}
		for _, url := range foreign {
			t.Errorf("%s asks another server: %s", name, url)
		}
		for _, line := range tab.Complaints() {
			t.Errorf("%s: in the browser's console: %s", name, line)
		}
	}
}
