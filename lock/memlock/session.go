package memlock

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/lock/driver"
)

// session implements driver.Session.
type session struct {
	d          *Driver
	id, holder string
	ttl        time.Duration

	expires time.Time // the engine's mu
	timer   *time.Timer
}

// ID implements driver.Session.
func (s *session) ID() string { return s.id }

// TTL implements driver.Session.
func (s *session) TTL() time.Duration { return s.ttl }

// do runs f on the engine if it knows the session.
func (s *session) do(ctx context.Context, what string, f func(*engine) error) error {
	return s.d.do(ctx, what, func(e *engine) error {
		if e.sessions[s.id] != s {
			return driver.ErrLost
		}
		return f(e)
	})
}

// Renew implements driver.Session.
func (s *session) Renew(ctx context.Context) error {
	return s.do(ctx, "renew", func(*engine) error {
		s.expires = time.Now().Add(s.ttl)
		s.timer.Reset(s.ttl)
		return nil
	})
}

// Enter implements driver.Session. Calls do not outlive their ctx here, so that nothing is under way after Leave.
func (s *session) Enter(ctx context.Context, name, id, value string) error {
	return s.do(ctx, "enter "+name, func(e *engine) error {
		if q := e.queue(name); q.find(id) < 0 {
			q.tickets = append(q.tickets, &ticket{id: id, value: value, session: s, gone: make(chan struct{})})
		}
		return nil
	})
}

// Wait implements driver.Session.
func (s *session) Wait(ctx context.Context, name, id string) error {
	for {
		var before, restart <-chan struct{}
		err := s.do(ctx, "wait for "+name, func(e *engine) error {
			q := e.locks[name]
			switch i := q.find(id); {
			case i < 0:
				return driver.ErrGone
			case i > 0:
				before, restart = q.tickets[i-1].gone, e.restart
			}
			return nil
		})
		if err != nil || before == nil {
			return err
		}
		if err := s.d.link.wait(ctx, before, restart); err != nil {
			return err
		}
	}
}

// Claim implements driver.Session.
func (s *session) Claim(ctx context.Context, name, id string, floor uint64) (token uint64, err error) {
	err = s.do(ctx, "claim "+name, func(e *engine) error {
		q := e.locks[name]
		switch i := q.find(id); {
		case i < 0:
			return driver.ErrGone
		case i > 0:
			return driver.ErrNotFirst
		case !e.epoch.Settled:
			return driver.ErrUnsettled
		}
		e.token = max(e.token+1, floor)
		token = e.token
		q.tickets[0].token = token
		e.held(q, q.tickets[0])
		return nil
	})
	return token, err
}

// Leave implements driver.Session.
func (s *session) Leave(ctx context.Context, name, id string) error {
	return s.do(ctx, "leave "+name, func(e *engine) error {
		if i := e.locks[name].find(id); i >= 0 {
			e.remove(name, i)
		}
		return nil
	})
}

// End implements driver.Session.
func (s *session) End(ctx context.Context) error {
	return s.d.do(ctx, "end", func(e *engine) error {
		e.drop(s)
		return nil
	})
}
