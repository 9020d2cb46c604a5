//go:build real && linux

package console_test

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"

	"github.com/holdfast-go/holdfast/internal/pagetest"
)

// metrics are what the browser counts of a page: seconds of work, bytes, elements.
func metrics(tab *pagetest.Tab) map[string]float64 {
	found := map[string]float64{}
	tab.Do("measure", func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		if _, err := chromedp.Call(ctx, performance.Enable, performance.EnableParams{}); err != nil {
			return chromedp.Void{}, err
		}
		if _, err := chromedp.Call(ctx, heapprofiler.CollectGarbage, cdp.Empty{}); err != nil {
			return chromedp.Void{}, err
		}
		r, err := chromedp.Call(ctx, performance.GetMetrics, cdp.Empty{})
		if err != nil {
			return chromedp.Void{}, err
		}
		for _, m := range r.Metrics {
			found[m.Name] = m.Value
		}
		return chromedp.Void{}, nil
	})
	return found
}

// frames watches a page for that long: the longest time between two frames, how many there were, and the longest task, in ms.
const frames = `new Promise((done) => {
  let [last, longest, count, task] = [performance.now(), 0, 0, 0];
  const end = last + 6000;
  new PerformanceObserver((list) => { for (const e of list.getEntries()) task = Math.max(task, e.duration); }).observe({type: "longtask"});
  const step = (now) => {
    longest = Math.max(longest, now - last);
    last = now;
    count++;
    if (now < end) requestAnimationFrame(step);
    else done([longest, count, task]);
  };
  requestAnimationFrame(step);
})`

// With 200 instances, ten documents a second and something happening in each, the page stays a small part of one processor: it
// has time for whoever uses it.
func TestRealSmooth(t *testing.T) {
	f := big()
	f.pace, f.noise = 100*time.Millisecond, true
	tab := visit(t, f, "#/")
	for _, hash := range []string{"#/", "#/instances", "#/events"} {
		tab.Do("go to "+hash, chromedp.EvaluateAsDevTools[chromedp.Void](`location.hash = "`+hash+`"`))
		tab.Until("it is drawn", isDrawn)
		before := metrics(tab)
		seen := pagetest.Value[[]float64](tab, frames)
		after := metrics(tab)
		// Processor time of the page's own thread: what others do on this machine does not count.
		part := func(name string) float64 {
			return 100 * (after[name] - before[name]) / (after["Timestamp"] - before["Timestamp"])
		}
		t.Logf("%s: %.0f %% of a processor (wall clock: script %.0f %%, layout %.0f %%, style %.0f %%), %.0f frames in 6 s, at most %.0f ms between two, longest task %.0f ms",
			hash, part("ThreadTime"), part("ScriptDuration"), part("LayoutDuration"), part("RecalcStyleDuration"), seen[1], seen[0], seen[2])
		if busy := part("ThreadTime"); busy > 50 || busy == 0 {
			t.Errorf("%s: the page takes %.0f %% of a processor", hash, busy)
		}
	}
}

// Ten minutes of a busy system leave nothing behind in the page.
func TestRealMemory(t *testing.T) {
	f := big()
	f.pace, f.noise = 25*time.Millisecond, true
	tab := visit(t, f, "#/events")
	at := func(step int) map[string]float64 {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ; ; <-tick.C {
			f.mu.Lock()
			now := f.steps
			f.mu.Unlock()
			if now >= step {
				return metrics(tab)
			}
		}
	}
	// What is bounded and can be seen in a heap is full by then: 1,000 events. Points are drawn once a second, which are few.
	before := at(700)
	for i, hash := range []string{"#/", "#/instances", "#/state", "#/events"} {
		at(700 + 150*i)
		tab.Do("go to "+hash, chromedp.EvaluateAsDevTools[chromedp.Void](`location.hash = "`+hash+`"`))
	}
	after := at(1300)
	grown := after["JSHeapUsedSize"] - before["JSHeapUsedSize"]
	t.Logf("heap %.1f MB, then %.1f MB; nodes %.0f, then %.0f; listeners %.0f, then %.0f", before["JSHeapUsedSize"]/1e6, after["JSHeapUsedSize"]/1e6, before["Nodes"], after["Nodes"], before["JSEventListeners"], after["JSEventListeners"])
	if grown > 4e6 {
		t.Errorf("the page's heap has grown by %.1f MB in ten minutes", grown/1e6)
	}
	if after["Nodes"] > 1.2*before["Nodes"]+500 {
		t.Errorf("the page has %.0f nodes after ten minutes, and had %.0f", after["Nodes"], before["Nodes"])
	}
}
