//go:build unix

package host

import (
	"context"
	"fmt"
	"sync"

	"github.com/holdfast-go/holdfast/platform/control"
)

// feedBuffer is how many events a subscriber may be behind before it loses some. A system of a hundred processes that
// starts and crashes at the same time makes a few hundred.
const feedBuffer = 1024

// feed hands each event to all subscribers and waits for none of them.
type feed struct {
	mu     sync.Mutex
	subs   map[*subscriber]struct{}
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
	s := &subscriber{events: make(chan control.Event, feedBuffer)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		close(s.events)
		return s.events, func() {}
	}
	f.subs[s] = struct{}{}
	return s.events, func() {
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
	events, cancel := h.feed.subscribe()
	defer cancel()
	for {
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
}
