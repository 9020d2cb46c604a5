package lock

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/lock/memlock"
)

var seeds = flag.Uint64("seeds", 20, "how many runs TestRandomFaults makes")

// TestRandomFaults: some clients want one lock for a simulated while, on an engine that is restarted and wiped, over ways
// that are slow, cut, frozen and deaf, and give up at times. At no moment do two hold it, tokens grow, storage guarded
// by them sees no stale write although holders write late, and in the end nobody is left in the queue.
func TestRandomFaults(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { simulate(t, seed) })
		})
	}
}

// history is what was seen of one lock.
type history struct {
	mu    sync.Mutex
	last  *Held
	holds int
	// Of the storage that the lock guards:
	seen    uint64
	refused int
}

func (h *history) held(t *testing.T, next *Held) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holds++
	if h.last != nil {
		if h.last.Context().Err() == nil {
			t.Errorf("two hold the lock: %d and %d", h.last.Token(), next.Token())
		}
		if next.Token() <= h.last.Token() {
			t.Errorf("token %d after %d", next.Token(), h.last.Token())
		}
	}
	h.last = next
}

// write is a write that arrives now.
func (h *history) write(token uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if token < h.seen {
		h.refused++
		return
	}
	h.seen = token
}

func simulate(t *testing.T, seed uint64) {
	const clients, length, ttl = 5, 5 * time.Minute, 10 * time.Second
	engine := memlock.New()
	h := &history{}
	ctx, stop := context.WithTimeout(context.Background(), length)
	defer stop()
	var wg sync.WaitGroup
	var links []*memlock.Driver
	for i := range clients {
		link := engine.Another()
		links = append(links, link)
		l := New(link, Config{TTL: ttl, Logger: quiet})
		r := rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // a simulation is to be repeatable
		wg.Go(func() {
			for ctx.Err() == nil {
				contend(ctx, t, l, r, h)
			}
			link.Restore()
			link.Thaw()
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Go(func() { disturb(ctx, rand.New(rand.NewPCG(seed, 99)), engine, links) }) //nolint:gosec // as above
	wg.Wait()
	<-time.After(ttl) // for sessions that were lost here and live there
	if n := engine.Waiting("l"); n != 0 {
		t.Errorf("%d are left in the queue", n)
	}
	if h.holds < 10 {
		t.Errorf("%d holds in %v", h.holds, length)
	}
}

// contend wants the lock once, with a deadline at times, holds it for a while, and may write after that.
func contend(ctx context.Context, t *testing.T, l *Locker, r *rand.Rand, hist *history) {
	want, cancel := context.WithCancel(ctx)
	if r.IntN(4) == 0 {
		want, cancel = context.WithTimeout(ctx, time.Duration(r.Int64N(int64(5*time.Second))))
	}
	defer cancel()
	h, err := l.Mutex("l").Lock(want)
	if err != nil {
		if want.Err() == nil {
			t.Errorf("Lock = %v", err)
		}
		return
	}
	hist.held(t, h)
	hist.write(h.Token())
	pause := time.NewTimer(time.Duration(r.Int64N(int64(8 * time.Second))))
	defer pause.Stop()
	select {
	case <-h.Context().Done():
	case <-pause.C:
	case <-ctx.Done():
	}
	if r.IntN(3) == 0 { // one that does not look at its context
		<-time.After(time.Duration(r.Int64N(int64(20 * time.Second))))
		hist.write(h.Token())
	}
	if err := h.Unlock(want); err != nil && !errors.Is(err, ErrLost) && want.Err() == nil {
		t.Errorf("Unlock = %v", err)
	}
}

func disturb(ctx context.Context, r *rand.Rand, engine *memlock.Driver, links []*memlock.Driver) {
	for ctx.Err() == nil {
		pause := time.NewTimer(time.Duration(r.Int64N(int64(12 * time.Second))))
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
		if ctx.Err() != nil {
			return
		}
		link := links[r.IntN(len(links))]
		switch r.IntN(10) {
		case 0:
			engine.Wipe()
		case 1:
			engine.Restart()
		case 2, 3:
			link.Freeze()
		case 4:
			link.Cut()
		case 5:
			link.Deafen()
		case 6:
			link.Slow(time.Duration(r.Int64N(int64(time.Second))))
		default:
			for _, l := range links {
				l.Restore()
				l.Thaw()
				l.Slow(0)
			}
		}
	}
}
