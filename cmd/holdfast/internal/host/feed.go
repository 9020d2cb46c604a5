//go:build unix

package host

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/holdfast-go/holdfast/platform/control"
)

// feedBuffer is how many events a subscriber may be behind before it loses some. A system of a hundred processes that
// starts and crashes at the same time makes a few hundred.
const feedBuffer = 1024

// feed hands each event to all subscribers and waits for none of them. It keeps the last ones.
type feed struct {
	mu     sync.Mutex
	subs   map[*subscriber]struct{}
	kept   []control.Event // oldest first, at most twice control.MaxEvents
	closed bool
}

type subscriber struct {
	events  chan control.Event
	dropped int // since the last one that fitted; guarded by feed.mu
}

func newFeed() *feed { return &feed{subs: make(map[*subscriber]struct{})} }

func (f *feed) publish(e control.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kept = append(f.kept, e); len(f.kept) >= 2*control.MaxEvents {
		f.kept = append([]control.Event(nil), f.kept[control.MaxEvents:]...)
	}
	for s := range f.subs {
		if s.dropped > 0 {
			lost := control.Event{Time: e.Time, Message: fmt.Sprintf("%s lost: the reader is too slow", count(s.dropped, "event"))}
			select {
			case s.events <- lost:
				s.dropped = 0
			default:
			}
		}
		select {
		case s.events <- e:
		default:
			s.dropped++
		}
	}
}

// close ends all subscriptions after what they have been handed.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for s := range f.subs {
		close(s.events)
		delete(f.subs, s)
	}
}

// subscribe starts a subscription; cancel ends it. The channel is closed when the feed is.
func (f *feed) subscribe() (events <-chan control.Event, cancel func()) {
	_, events, cancel = f.subscribeFrom(0)
	return events, cancel
}

// subscribeFrom is subscribe with at most last events before those of the subscription.
func (f *feed) subscribeFrom(last int) (kept []control.Event, events <-chan control.Event, cancel func()) {
	s := &subscriber{events: make(chan control.Event, feedBuffer)}
	f.mu.Lock()
	defer f.mu.Unlock()
	kept = slices.Clone(f.kept[max(0, len(f.kept)-last):])
	if f.closed {
		close(s.events)
		return kept, s.events, func() {}
	}
	f.subs[s] = struct{}{}
	return kept, s.events, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subs, s)
	}
}

// Subscribe returns what happens from now on. The channel is closed after the last event of the system; a reader that
// is far behind loses events, which an event in their place says. cancel ends the subscription.
func (h *Host) Subscribe() (events <-chan control.Event, cancel func()) { return h.feed.subscribe() }

// Events implements control.System.
func (h *Host) Events(ctx context.Context, emit func(control.Event) error) error {
	return h.EventsOf(ctx, control.EventQuery{Follow: true}, func() {}, emit)
}

// EventsOf implements control.EventKeeper.
func (h *Host) EventsOf(ctx context.Context, q control.EventQuery, begun func(), emit func(control.Event) error) error {
	kept, events, cancel := h.feed.subscribeFrom(min(q.Last, control.MaxEvents))
	defer cancel()
	begun()
	for _, e := range kept {
		if err := emit(e); err != nil {
			return err
		}
	}
	for q.Follow {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-events:
			if !ok {
				return nil
			}
			if err := emit(e); err != nil {
				return err
			}
		}
	}
	return nil
}
