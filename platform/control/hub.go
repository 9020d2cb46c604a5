package control

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"
)

const (
	// liveEvery is how often followers are told how the system is, and liveSoon how soon after the last time they are when the
	// state of an instance changes.
	liveEvery = time.Second
	liveSoon  = 100 * time.Millisecond
	// maxPending bounds the events that a follower has not read yet. It then loses the oldest.
	maxPending = 256
)

// hub tells all followers how the system is. It looks while there are any, once for all of them, and waits for none.
type hub struct {
	look   func() Live
	events func(context.Context, func(Event) error) error // System.Events
	logger *slog.Logger

	mu        sync.Mutex
	followers map[*follower]struct{}
	last      []byte // the newest Live, as JSON; nil while nobody follows
	end       func() // ends the round that looks, and waits for its end; nil while nobody follows
	round     int
}

// follower is somebody who follows. It has at most one Live, the newest, and a bounded number of events.
type follower struct {
	wake chan struct{} // has something when there is something to send

	// Guarded by hub.mu.
	live   []byte
	events [][]byte
	over   bool // the system has ended
}

func newHub(look func() Live, events func(context.Context, func(Event) error) error, logger *slog.Logger) *hub {
	return &hub{look: look, events: events, logger: logger, followers: make(map[*follower]struct{})}
}

// join begins to follow; leave has to be called.
func (h *hub) join() *follower {
	f := &follower{wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.followers[f] = struct{}{}
	if h.end == nil {
		h.begin()
	}
	if f.live = h.last; f.live != nil {
		f.wake <- struct{}{}
	}
	return f
}

// begin begins to look. The caller holds mu.
func (h *hub) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	h.round++
	round := h.round
	changed := make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() { h.watch(ctx, round, changed) })
	wg.Go(func() { h.run(ctx, round, changed) })
	h.end = func() {
		cancel()
		wg.Wait()
	}
}

// leave ends following. When the last one leaves, nothing is looked at any more when it returns.
func (h *hub) leave(f *follower) {
	h.mu.Lock()
	delete(h.followers, f)
	var end func()
	if len(h.followers) == 0 {
		end, h.end, h.last = h.end, nil, nil
	}
	h.mu.Unlock()
	if end != nil {
		end()
	}
}

// take returns what there is to send, and whether that was all for good.
func (h *hub) take(f *follower) (live []byte, events [][]byte, over bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	live, events = f.live, f.events
	f.live, f.events = nil, nil
	return live, events, f.over
}

// watch hands on events until ctx ends, and tells run that something has changed.
func (h *hub) watch(ctx context.Context, round int, changed chan<- struct{}) {
	_ = h.events(ctx, func(e Event) error {
		if b, err := json.Marshal(e); err == nil { // it always can
			h.tell(round, func(f *follower) {
				if len(f.events) >= maxPending {
					f.events = f.events[1:]
				}
				f.events = append(f.events, b)
			})
		}
		select {
		case changed <- struct{}{}:
		default:
		}
		return nil
	})
	if ctx.Err() == nil { // there are no more, or they cannot be had: followers begin anew, or see that the system is gone
		h.tell(round, func(f *follower) { f.over = true })
	}
}

// run looks once a second, and soon after something has changed.
func (h *hub) run(ctx context.Context, round int, changed <-chan struct{}) {
	var failed error
	for {
		began := time.Now()
		b, err := json.Marshal(h.look())
		if err != nil && failed == nil { // each of them would be a line a second
			h.logger.Error("control API: how the system is cannot be written as JSON; who follows it sees nothing new", "error", err)
		}
		if failed = err; err == nil {
			h.mu.Lock()
			if round == h.round && ctx.Err() == nil {
				h.last = b
			}
			h.mu.Unlock()
			h.tell(round, func(f *follower) { f.live = b })
		}
		if !pause(ctx, liveSoon, nil) || !pause(ctx, liveEvery-liveSoon-min(time.Since(began)-liveSoon, liveEvery-liveSoon), changed) {
			return
		}
	}
}

// pause waits for d, or until something has changed, and says that ctx has not ended.
func pause(ctx context.Context, d time.Duration, changed <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-changed:
	}
	return true
}

// tell changes what every follower has to be sent, unless another round has begun.
func (h *hub) tell(round int, change func(*follower)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if round != h.round {
		return
	}
	for f := range h.followers {
		change(f)
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}
