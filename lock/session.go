package lock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/lock/driver"
)

// errAgain is reported when a place in a queue is gone and the caller queues again.
var errAgain = errors.New("place in the queue lost")

// session is one session at the engine. It is over when the engine says so, or when it was not renewed until its time was
// up, whichever is noticed first; it never comes back.
type session struct {
	l      *Locker
	d      driver.Session
	margin time.Duration

	ctx context.Context // ends when the session is over
	end context.CancelCauseFunc

	mu    sync.Mutex
	until time.Time // has a monotonic reading
	timer *time.Timer
	why   error // not nil: over
	holds map[*Held]struct{}
}

// newSession returns the session that was asked for at sent.
func newSession(l *Locker, d driver.Session, sent time.Time) *session {
	s := &session{l: l, d: d, margin: min(l.cfg.Margin, d.TTL()/2), holds: make(map[*Held]struct{})} // the engine may have no longer TTL
	if s.margin <= 0 {
		s.margin = d.TTL() / 10
	}
	s.ctx, s.end = context.WithCancelCause(l.ctx)
	s.until = sent.Add(d.TTL() - s.margin)
	s.mu.Lock() // the timer may fire at once: after a stall the time is up before the session begins
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(time.Until(s.until), func() { s.alive() })
	return s
}

// expired compares both clocks: the monotonic one stands still while some machines sleep, and the other may be set back.
func expired(now, until time.Time) bool {
	return !now.Before(until) || !now.Round(0).Before(until.Round(0))
}

// alive looks at the clock, and ends the session if its time is up.
func (s *session) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == nil && expired(time.Now(), s.until) {
		s.over(fmt.Errorf("%w: the session was not renewed in time", ErrLost))
	}
	return s.why == nil
}

// lose ends the session and all that is held under it before it returns.
func (s *session) lose(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == nil {
		s.over(why)
	}
}

// over needs mu.
func (s *session) over(why error) {
	s.why = why
	s.timer.Stop()
	for h := range s.holds {
		h.cancel(why)
	}
	if n := len(s.holds); n > 0 && errors.Is(why, ErrLost) {
		s.l.cfg.Logger.Warn("locks lost", "session", s.d.ID(), "locks", n, "error", why)
	}
	clear(s.holds)
	s.end(why)
}

// extend moves the end of the session after a renewal that was sent at sent. One whose time is up stays over.
func (s *session) extend(sent time.Time) {
	if !s.alive() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	until := sent.Add(s.d.TTL() - s.margin)
	if s.why != nil || !until.After(s.until) {
		return
	}
	s.until = until
	s.timer.Reset(time.Until(until))
}

func (s *session) deadline() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.until
}

// renew keeps the session until it is over. A renewal that fails is tried again soon, for as long as there is time. One
// that is lost is given back at the engine, too, if that hears it, once those who held something have had the margin
// to stop: it may live on there for as long as it lived here.
func (s *session) renew() {
	s.keep()
	if backoff.Pause(s.l.ctx, s.margin) {
		ctx, cancel := context.WithTimeout(s.l.ctx, s.l.cfg.CallTimeout)
		defer cancel()
		_ = s.d.End(ctx) // it ends by itself otherwise
	}
}

func (s *session) keep() {
	every := s.d.TTL() / 3
	pause := backoff.Backoff{Base: pauseMin, Max: max(pauseMin, s.d.TTL()/20)}
	failing := false
	next := backoff.Jitter(every*9/10, every)
	for backoff.Pause(s.ctx, next) {
		sent := time.Now()
		ctx, cancel := context.WithTimeout(s.ctx, min(s.l.cfg.CallTimeout, max(every, pauseMin)))
		err := s.d.Renew(ctx)
		cancel()
		switch {
		case err == nil:
			s.extend(sent)
			pause.Reset()
			if failing {
				s.l.cfg.Logger.Info("lock session renewed again", "session", s.d.ID())
			}
			failing = false
			next = backoff.Jitter(every*9/10, every) - time.Since(sent)
		case errors.Is(err, driver.ErrLost):
			s.lose(fmt.Errorf("%w: the engine has ended the session", ErrLost))
		default:
			if !failing && s.ctx.Err() == nil {
				s.l.cfg.Logger.Warn("lock session not renewed, trying until its time is up", "session", s.d.ID(),
					"left", time.Until(s.deadline()), "error", err)
			}
			failing = true
			next = pause.Next()
		}
	}
}

// call makes one call to the engine within the session. That the session is lost is known when it returns.
func (s *session) call(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.l.cfg.CallTimeout)
	defer cancel()
	return s.judge(f(ctx))
}

func (s *session) judge(err error) error {
	if errors.Is(err, driver.ErrLost) {
		s.lose(fmt.Errorf("%w: the engine has ended the session", ErrLost))
		return errAgain
	}
	return err
}

// acquire takes a place in the queue and waits for its turn. Whatever it returns, nothing is left behind that does not
// leave by itself.
func (s *session) acquire(ctx context.Context, name, value string, try bool) (h *Held, err error) {
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	ticket := rand.Text()[:20]
	defer func() {
		if err != nil {
			s.leave(name, ticket)
		}
		if err != nil && s.ctx.Err() != nil {
			err = errAgain
		}
	}()
	if err := s.enter(ctx, name, ticket, value, try); err != nil {
		return nil, err
	}
	pause := backoff.Backoff{Base: pauseMin, Max: pauseMax}
	for {
		var token uint64
		err := s.call(ctx, func(ctx context.Context) (err error) {
			token, err = s.d.Claim(ctx, name, ticket, s.l.floor())
			return err
		})
		if err == nil {
			s.l.saw(token)
			return s.hold(outer, name, ticket, token)
		}
		if errors.Is(err, driver.ErrNotFirst) {
			s.look(name)
		}
		if try {
			if errors.Is(err, driver.ErrUnsettled) {
				s.l.settleSoon(s.d.TTL()) // who only tries must not be refused for ever
			}
			return nil, tried(err)
		}
		err = s.next(ctx, name, ticket, err)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, errAgain) || errors.Is(err, driver.ErrGone) {
				return nil, again(err)
			}
			if !backoff.Pause(ctx, pause.Next()) {
				return nil, ctx.Err()
			}
			continue
		}
		pause.Reset()
	}
}

// look remembers the token of whoever is before, in the background: nobody else may know it when the engine has forgotten
// it.
func (s *session) look(name string) {
	s.l.spawn(func() { _, _, _ = s.l.askHolder(s.ctx, name) })
}

// tried makes what a claim came to the answer of TryLock.
func tried(err error) error {
	if errors.Is(err, driver.ErrNotFirst) || errors.Is(err, driver.ErrDelayed) {
		return ErrHeld
	}
	return err
}

func again(err error) error {
	if errors.Is(err, driver.ErrGone) {
		return errAgain
	}
	return err
}

// next waits until a claim that came to err can come to something else.
func (s *session) next(ctx context.Context, name, ticket string, err error) error {
	switch {
	case errors.Is(err, driver.ErrNotFirst):
		turn, cancel := context.WithTimeout(ctx, recheck)
		defer cancel()
		err := s.judge(s.d.Wait(turn, name, ticket))
		if turn.Err() != nil && ctx.Err() == nil {
			return nil
		}
		return err
	case errors.Is(err, driver.ErrUnsettled):
		return s.l.settle(ctx, s.d.TTL())
	case errors.Is(err, driver.ErrDelayed):
		backoff.Pause(ctx, delayPoll)
		return ctx.Err()
	}
	return err
}

// enter takes the place, however often it takes: without an answer it is not known whether there is one, and a second
// one would be behind it.
func (s *session) enter(ctx context.Context, name, ticket, value string, try bool) error {
	pause := backoff.Backoff{Base: pauseMin, Max: pauseMax}
	for {
		err := s.call(ctx, func(ctx context.Context) error { return s.d.Enter(ctx, name, ticket, value) })
		if err == nil || try || errors.Is(err, errAgain) || ctx.Err() != nil {
			return err
		}
		s.l.cfg.Logger.Debug("queueing for a lock", "lock", name, "error", err)
		if !backoff.Pause(ctx, pause.Next()) {
			return ctx.Err()
		}
	}
}

// leave gives a ticket back in the background: once the engine has answered, or with the session. done is closed then.
func (s *session) leave(name, ticket string) (done <-chan struct{}) {
	ended := make(chan struct{})
	if s.ctx.Err() != nil || !s.l.spawn(func() {
		defer close(ended)
		pause := backoff.Backoff{Base: pauseMin, Max: pauseMax}
		for s.ctx.Err() == nil {
			err := s.call(s.ctx, func(ctx context.Context) error { return s.d.Leave(ctx, name, ticket) })
			if err == nil || !backoff.Pause(s.ctx, pause.Next()) {
				return
			}
		}
	}) {
		close(ended)
	}
	return ended
}

// hold makes a claim that was granted a Held, if there is time left for one.
func (s *session) hold(ctx context.Context, name, ticket string, token uint64) (*Held, error) {
	if !s.alive() {
		return nil, errAgain
	}
	h := newHeld(ctx, s, name, ticket, token)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != nil {
		h.cancel(s.why)
		return nil, errAgain
	}
	s.holds[h] = struct{}{}
	return h, nil
}

// drop ends h's context and returns nil if it was held until now, and otherwise why it was not.
func (s *session) drop(h *Held) error {
	s.alive()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != nil {
		return s.why
	}
	delete(s.holds, h)
	h.cancel(ErrUnlocked)
	return nil
}
