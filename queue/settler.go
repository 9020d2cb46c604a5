package queue

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// settler acknowledges what is done, as many at a time as have come together while the engine was busy.
type settler struct {
	r      *runner
	kick   chan struct{} // has room for one
	done   chan struct{} // closed by finish
	ended  chan struct{} // closed by run
	ctx    context.Context
	cancel context.CancelFunc

	inHand int // deliveries that are not settled; the runner's mu
	list   []*driver.Delivery
	tasks  int // that list is of
}

// wake is called after something was added to list.
func (s *settler) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// settled is told of deliveries that are not in hand any more.
func (s *settler) settled(n int) {
	s.r.mu.Lock()
	s.inHand -= n
	s.r.mu.Unlock()
	s.r.madeRoom()
}

// take returns what is to be acknowledged, of how many tasks.
func (s *settler) take(spare []*driver.Delivery) ([]*driver.Delivery, int) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	out, tasks := s.list, s.tasks
	s.list, s.tasks = spare[:0], 0
	return out, tasks
}

// run acknowledges until finish.
func (s *settler) run() {
	defer close(s.ended)
	var spare []*driver.Delivery
	pause := backoff.Backoff{Base: receivePauseMin, Max: receivePauseMax}
	for {
		select {
		case <-s.kick:
		case <-s.done:
			return
		}
		ds, tasks := s.take(spare)
		for len(ds) > 0 {
			ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
			err := s.r.rec.Ack(ctx, ds)
			cancel()
			if err == nil || errors.Is(err, driver.ErrLost) {
				if err != nil {
					s.r.observe(Event{Kind: Lost, Count: 1, Err: err})
				}
				pause.Reset()
				break
			}
			s.r.complain(s.r.base, "ack", err) // the engine does not know: it is told again, or delivers again
			if !s.pause(pause.Next()) {
				s.r.mu.Lock()
				s.list = append(ds, s.list...)
				s.r.mu.Unlock()
				return
			}
		}
		s.r.mu.Lock()
		if s.r.sched.acked(tasks) {
			s.r.dispatch(time.Now())
		}
		s.r.mu.Unlock()
		s.settled(len(ds))
		clear(ds)
		spare = ds
	}
}

// pause reports whether finish is yet to come after d.
func (s *settler) pause(d time.Duration) bool {
	t := time.NewTimer(max(d, 1))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}

// finish acknowledges what is left, for the last time.
func (s *settler) finish() {
	close(s.done)
	over := time.AfterFunc(flushTimeout, s.cancel)
	defer over.Stop()
	<-s.ended
	if ds, _ := s.take(nil); len(ds) > 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.r.base), flushTimeout)
		defer cancel()
		if err := s.r.rec.Ack(ctx, ds); err != nil && !errors.Is(err, driver.ErrLost) {
			s.r.complain(s.r.base, "ack", err)
		}
	}
}
