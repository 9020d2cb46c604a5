//go:build unix

package supervise

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// eventsWaiting bounds the events that wait for one subscriber.
const eventsWaiting = 1000

// Events subscribes to changes of instances, starting now. The caller must Stop it.
func (s *Supervisor) Events() *Events {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &Events{s: s, feed: newFeed[Event](eventsWaiting)}
	if s.life == over {
		e.feed.close()
	} else {
		s.feeds[e.feed] = true
	}
	return e
}

// Events is a bounded subscription to changes of instances. Its methods are for one goroutine.
type Events struct {
	s    *Supervisor
	feed *feed[Event]
}

// Next blocks until there is an event or ctx ends. A reader that is too slow gets an Event with Dropped set where events
// are missing; States then tells what is. io.EOF means that the supervisor has ended.
func (e *Events) Next(ctx context.Context) (Event, error) {
	event, dropped, err := e.feed.next(ctx)
	if dropped > 0 {
		return Event{Time: time.Now(), Dropped: dropped}, nil
	}
	return event, err
}

// Stop ends the subscription.
func (e *Events) Stop() {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	delete(e.s.feeds, e.feed)
}

// Logs returns the last n lines of a service, of one instance or ("") of all services, oldest first. With follow it also
// returns a subscription to what comes after, without gap or overlap, which the caller must Stop. A name that nothing
// has or had is a failure.NotFound. Lines of instances that are gone are kept like others.
func (s *Supervisor) Logs(name string, n int, follow bool) ([]Line, *Tail, error) {
	if !s.known(name) {
		return nil, nil, failure.New(failure.NotFound, "no service or instance %q", name)
	}
	if follow {
		lines, tail := s.logs.follow(name, n)
		return lines, tail, nil
	}
	return s.logs.last(name, n), nil, nil
}

func (s *Supervisor) known(name string) bool {
	if name == "" || len(s.logs.last(name, 1)) > 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups {
		if g.Service == name || g.member(name) != nil {
			return true
		}
	}
	return false
}
