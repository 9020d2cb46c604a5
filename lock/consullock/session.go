package consullock

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/consul"
	"github.com/holdfast-go/holdfast/lock/driver"
)

// session implements driver.Session.
type session struct {
	d          *Driver
	id, holder string
	ttl        time.Duration

	mu      sync.Mutex
	tickets map[string]*ticket // by key
	guard   uint64             // the index of the guard that Enter goes by; 0 while there is none
	tokens  map[string]stored  // by key; what was seen last. A Consul that was wiped counts anew, and has another session
}

// ticket is what this side knows of a key in a queue.
type ticket struct {
	name, value string
	doubt       int    // calls of which a request to create it may be under way still
	first       bool   // nothing is before it, and never will be
	claimed     bool   // a claim was made; whether it was heard is another matter
	held        uint64 // the index of the holder's key, if that is known to be ours
}

// ID implements driver.Session: Consul's own.
func (s *session) ID() string { return s.id }

// TTL implements driver.Session.
func (s *session) TTL() time.Duration { return s.ttl }

func (s *session) key(name, id string) string { return s.d.queue(name) + s.id + "-" + segment(id) }
func (s *session) guardKey() string           { return s.d.prefix + "/guards/" + s.id }

// do runs f on Consul.
func (s *session) do(ctx context.Context, what string, f func(context.Context, *consul.Agent) error) error {
	if err := s.d.client.Do(ctx, f); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// judge makes what a transaction did not hold for an error.
func judge(c *conflict) error {
	if c.noSession() {
		return driver.ErrLost
	}
	return c
}

// know returns what is known of a ticket.
func (s *session) know(key string) ticket {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tickets[key]; t != nil {
		return *t
	}
	return ticket{}
}

// learn changes what is known of one that was entered.
func (s *session) learn(key string, f func(*ticket)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tickets[key]; t != nil {
		f(t)
	}
}

// Renew implements driver.Session.
func (s *session) Renew(ctx context.Context) error {
	return s.do(ctx, "renew session", func(ctx context.Context, a *consul.Agent) error {
		_, err := a.Put(ctx, consul.Path("/v1/session/renew", s.id), s.d.query(), nil, nil)
		if consul.NotFound(err) {
			return driver.ErrLost
		}
		return err
	})
}

// Enter implements driver.Session. The transaction holds only while the guard is where it was when the request was made,
// so that one that comes late, after Leave has moved the guard, does nothing.
func (s *session) Enter(ctx context.Context, name, id, value string) error {
	key := s.key(name, id)
	s.mu.Lock()
	if s.tickets[key] == nil {
		s.tickets[key] = &ticket{name: name, value: value}
	}
	s.tickets[key].doubt++
	s.mu.Unlock()
	unanswered := 0
	err := s.do(ctx, "enter "+name, func(ctx context.Context, a *consul.Agent) error {
		for range maxConflicts {
			_, c, err := s.d.transact(ctx, a, s.unmoved(), kv{Verb: "lock", Key: key, Session: s.id})
			switch {
			case err != nil:
				unanswered++
				return err
			case c == nil:
				return nil
			case !c.about(0):
				return judge(c)
			}
			p, _, found, err := s.d.get(ctx, a, s.guardKey())
			if err != nil {
				return err
			}
			if !found {
				return driver.ErrLost // there was one, and it goes with the session
			}
			s.moved(p.ModifyIndex)
		}
		return errConflicts
	})
	if err == nil && unanswered == 0 {
		s.learn(key, func(t *ticket) { t.doubt-- }) // this call's; that of one before stays
	}
	return err
}

// unmoved is the step that holds while the guard is where it was seen last.
func (s *session) unmoved() kv {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guard == 0 {
		return kv{Verb: "check-not-exists", Key: s.guardKey()}
	}
	return kv{Verb: "check-index", Key: s.guardKey(), Index: s.guard}
}

func (s *session) moved(index uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guard = max(s.guard, index)
}

// Wait implements driver.Session.
func (s *session) Wait(ctx context.Context, name, id string) error {
	key := s.key(name, id)
	for {
		before, index, err := s.before(ctx, name, key)
		if err == nil && before != "" {
			err = s.d.change(ctx, before, index)
		}
		if err != nil {
			return fmt.Errorf("wait for %s: %w", name, err)
		}
		if before == "" {
			return nil
		}
	}
}

// before returns the key before another in its queue, "" if there is none, and at which index that was so. Keys are in
// the order in which they were created, so that none comes before one that is first.
func (s *session) before(ctx context.Context, name, key string) (before string, index uint64, err error) {
	err = s.d.client.Do(ctx, func(ctx context.Context, a *consul.Agent) error {
		pairs, i, err := s.d.read(ctx, a, s.d.queue(name), true)
		if err != nil {
			return err
		}
		before, index = "", i
		var own, last uint64
		for _, p := range pairs {
			if p.Key == key && p.Session == s.id {
				own = p.CreateIndex
			}
		}
		if own == 0 {
			return driver.ErrGone
		}
		for _, p := range pairs {
			if p.CreateIndex < own && p.CreateIndex > last && p.Session != "" {
				before, last = p.Key, p.CreateIndex
			}
		}
		if before == "" {
			s.learn(key, func(t *ticket) { t.first = true })
		}
		return nil
	})
	return before, index, err
}

// The steps of a claim.
const (
	stepSettled = iota
	stepTicket
	stepToken
	stepHolder
)

// Claim implements driver.Session: one transaction that holds if the ticket is there, the epoch is settled, the last token
// is the one that the new one was made of, and the holder's key can be locked.
func (s *session) Claim(ctx context.Context, name, id string, floor uint64) (token uint64, err error) {
	key := s.key(name, id)
	if !s.know(key).first {
		before, _, err := s.before(ctx, name, key)
		if err == nil && before != "" {
			err = driver.ErrNotFirst
		}
		if err != nil {
			return 0, fmt.Errorf("claim %s: %w", name, err)
		}
	}
	s.learn(key, func(t *ticket) { t.claimed, t.held = true, 0 })
	err = s.do(ctx, "claim "+name, func(ctx context.Context, a *consul.Agent) error {
		for range maxConflicts {
			last := s.last(name)
			token = max(last.token+1, floor)
			holder, err := json.Marshal(record{Token: token, Name: s.holder, Value: s.know(key).value, Ticket: id})
			if err != nil {
				return err
			}
			out, c, err := s.d.transact(ctx, a,
				kv{Verb: "get", Key: s.d.settled()},
				kv{Verb: "check-session", Key: key, Session: s.id},
				kv{Verb: "cas", Key: s.d.token(name), Index: last.index, Value: []byte(strconv.FormatUint(token, 10))},
				kv{Verb: "lock", Key: s.d.holder(name), Session: s.id, Value: holder})
			if err != nil {
				return err
			}
			if c == nil {
				s.remember(name, stored{of(out, s.d.token(name)).ModifyIndex, token})
				s.learn(key, func(t *ticket) { t.held = of(out, s.d.holder(name)).ModifyIndex })
				return nil
			}
			if err := s.why(ctx, a, name, key, c); err != nil {
				return err
			}
		}
		return errConflicts
	})
	if err != nil {
		return 0, err
	}
	return token, nil
}

// why says what a claim did not hold for, and returns nil if it is worth another try.
func (s *session) why(ctx context.Context, a *consul.Agent, name, key string, c *conflict) error {
	switch {
	case c.noSession():
		return driver.ErrLost
	case c.about(stepSettled):
		return driver.ErrUnsettled
	case c.about(stepTicket):
		return driver.ErrGone
	case c.about(stepHolder): // delayed by Consul, which it looks at first, or until what was left of the one before is gone
		p, _, _, err := s.d.get(ctx, a, key)
		switch {
		case err != nil:
			return err
		case p.Session != s.id:
			return driver.ErrGone
		}
		return driver.ErrDelayed
	case !c.about(stepToken):
		return c
	}
	p, _, _, err := s.d.get(ctx, a, s.d.token(name))
	s.remember(name, stored{p.ModifyIndex, decodeToken(p.Value)})
	return err
}

func (s *session) last(name string) stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens[s.d.token(name)]
}

// remember keeps what was seen last; what is older is found out by the next claim.
func (s *session) remember(name string, r stored) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[s.d.token(name)] = r
}

// Leave implements driver.Session.
func (s *session) Leave(ctx context.Context, name, id string) error {
	key := s.key(name, id)
	err := s.do(ctx, "leave "+name, func(ctx context.Context, a *consul.Agent) error {
		t := s.know(key)
		if t.doubt > 0 {
			out, c, err := s.d.transact(ctx, a, kv{Verb: "lock", Key: s.guardKey(), Session: s.id, Value: []byte(rand.Text())})
			if err != nil {
				return err
			}
			if c != nil {
				return judge(c)
			}
			s.moved(of(out, s.guardKey()).ModifyIndex)
		}
		if t.held != 0 {
			_, c, err := s.d.transact(ctx, a,
				kv{Verb: "delete-cas", Key: s.d.holder(name), Index: t.held}, kv{Verb: "delete", Key: key})
			if err != nil || c == nil {
				return err
			}
		}
		// Without its ticket no claim holds any more, so that what there is then is all there will be.
		_, c, err := s.d.transact(ctx, a, kv{Verb: "delete", Key: key})
		if c != nil {
			err = judge(c)
		}
		if err != nil || !t.claimed {
			return err
		}
		return s.release(ctx, a, name, id)
	})
	if err == nil || errors.Is(err, driver.ErrLost) {
		s.mu.Lock()
		delete(s.tickets, key)
		s.mu.Unlock()
	}
	return err
}

// release removes the holder's key if it is of that ticket.
func (s *session) release(ctx context.Context, a *consul.Agent, name, id string) error {
	for range maxConflicts {
		p, _, found, err := s.d.get(ctx, a, s.d.holder(name))
		if err != nil || !found || p.Session != s.id || decode(p.Value).Ticket != id {
			return err
		}
		_, c, err := s.d.transact(ctx, a, kv{Verb: "delete-cas", Key: s.d.holder(name), Index: p.ModifyIndex})
		if err != nil || c == nil {
			return err
		}
	}
	return errConflicts
}

// End implements driver.Session. What is held is given back one by one first: Consul delays the locks of a session that is
// ended.
func (s *session) End(ctx context.Context) error {
	s.mu.Lock()
	held := make(map[string]uint64)
	for _, t := range s.tickets {
		if t.held != 0 {
			held[t.name] = t.held
		}
	}
	s.mu.Unlock()
	return s.do(ctx, "end session", func(ctx context.Context, a *consul.Agent) error {
		for name, index := range held {
			if _, _, err := s.d.transact(ctx, a, kv{Verb: "delete-cas", Key: s.d.holder(name), Index: index}); err != nil {
				return err
			}
		}
		_, err := a.Put(ctx, consul.Path("/v1/session/destroy", s.id), s.d.query(), nil, nil)
		if consul.NotFound(err) {
			return nil
		}
		return err
	})
}
