package drill

import (
	"bytes"
	"context"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/drill/report"
)

const (
	// lookEvery is over how long it is measured what the host takes.
	lookEvery = time.Second
	// shortest is what is looked at all the same at the end.
	shortest = lookEvery / 2
	// robbed is the share of the processors from which on what is measured is the host's, not the system's: of a second, that all
	// of them stood for half of it. A third less, all the time, is borne.
	robbed = 0.5
	// aftermath is for how long it is felt that everything stood: leases have run out, breakers are open, calls wait.
	aftermath = 5 * time.Second
	// maxRobbed bounds the times that are kept: an hour's, if every other second is one.
	maxRobbed = 2000
)

// AwaitProcessors waits, for patience at most, until the host of this virtual machine gives it its processors when it needs
// them: less than a tenth goes to others. It returns the share that was taken at last. To learn that it keeps every processor
// busy for half a second, every ten seconds. Where nothing is known of a host, as on any system but Linux, it returns 0 at once.
func AwaitProcessors(ctx context.Context, patience time.Duration) (taken float64) {
	return awaitProcessors(ctx, patience, takenWhenBusy)
}

// WatchProcessors watches what the host of this virtual machine takes until stop is called, which returns it: nil if that was next to
// nothing, or nothing is known.
func WatchProcessors() (stop func() *report.Host) {
	h := host{look: lookAtProcessors}
	began := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { h.follow(ctx, func() time.Duration { return time.Since(began) }) })
	return func() *report.Host {
		cancel()
		watching.Wait()
		return h.report()
	}
}

func awaitProcessors(ctx context.Context, patience time.Duration, look func() float64) float64 {
	const calm, pause = 0.1, 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if taken := look(); taken < calm || !sleep(ctx, pause) {
			return taken
		}
	}
}

// takenWhenBusy is the share that the host takes while every processor has something to do.
func takenWhenBusy() float64 {
	const long = 500 * time.Millisecond
	before, ok := lookAtProcessors()
	if !ok {
		return 0
	}
	var busy sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		busy.Go(func() {
			for began := time.Now(); time.Since(began) < long; {
			}
		})
	}
	busy.Wait()
	after, _ := lookAtProcessors()
	return share(before, after)
}

// processors is what a machine's have done since it began, in ticks; stolen is what the host of a virtual machine gave to
// others while there was something to do (proc_stat(5)).
type processors struct{ all, stolen uint64 }

// lookAtProcessors returns what they have done, and whether that is known: on Linux it is.
func lookAtProcessors() (processors, bool) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return processors{}, false
	}
	return parseProcessors(text)
}

// parseProcessors reads the first line of /proc/stat: cpu USER NICE SYSTEM IDLE IOWAIT IRQ SOFTIRQ STEAL GUEST GUEST_NICE, the last
// two of which are in the first two.
func parseProcessors(text []byte) (p processors, ok bool) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := bytes.Fields(line)
	const stolen = 8
	if len(fields) <= stolen || string(fields[0]) != "cpu" {
		return processors{}, false
	}
	for _, f := range fields[1 : stolen+1] {
		n, err := strconv.ParseUint(string(f), 10, 64)
		if err != nil {
			return processors{}, false
		}
		p.all += n
		p.stolen = n
	}
	return p, true
}

// host watches what the host takes of a virtual machine's processors.
type host struct {
	look func() (processors, bool)

	mu   sync.Mutex
	took report.Host
}

// follow looks until ctx ends; now is since the load began.
func (h *host) follow(ctx context.Context, now func() time.Duration) {
	first, ok := h.look()
	if !ok {
		return
	}
	last, at := first, now()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-ctx.Done():
			over = true
		case <-tick.C:
		}
		p, ok := h.look()
		till := now()
		if !ok || over && till < at+shortest {
			return
		}
		h.note(report.Span{From: at, To: till}, share(last, p), share(first, p))
		last, at = p, till
	}
}

func (h *host) note(when report.Span, of, whole float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.took.Share, h.took.Most = whole, max(h.took.Most, of)
	if of < robbed || len(h.took.Spans) == maxRobbed {
		return
	}
	if n := len(h.took.Spans); n > 0 && h.took.Spans[n-1].To == when.From {
		h.took.Spans[n-1].To = when.To
		return
	}
	h.took.Spans = append(h.took.Spans, when)
}

// share is that which the host took from one look to the other.
func share(from, to processors) float64 {
	if to.all <= from.all || to.stolen < from.stolen {
		return 0
	}
	return float64(to.stolen-from.stolen) / float64(to.all-from.all)
}

// report is what it took; nil if that is next to nothing.
func (h *host) report() *report.Host {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.took.Share < 0.05 && len(h.took.Spans) == 0 {
		return nil
	}
	out := h.took
	return &out
}
