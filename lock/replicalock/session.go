package replicalock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/lock/driver"
	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/replica/kv"
)

var (
	errConflicts = errors.New("keys keep changing")
	errTwice     = errors.New("a session of that ID is there")
)

// session implements driver.Session.
type session struct {
	d          *Driver
	id, holder string
	ttl        time.Duration

	mu    sync.Mutex
	doubt map[string]int // tickets that requests to create may be under way for, by key
	guard uint64         // the revision of the guard that Enter goes by; 0 while there is none
}

// ID implements driver.Session.
func (s *session) ID() string { return s.id }

// TTL implements driver.Session.
func (s *session) TTL() time.Duration { return s.ttl }

func (s *session) key(name, id string) string { return s.d.queue(name) + s.id + "-" + id }

func (s *session) alive() kv.Compare { return kv.Exists(s.d.session(s.id)) }

func (s *session) guarded() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.guard
}

func (s *session) moved(revision uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guard = max(s.guard, revision)
}

// Renew implements driver.Session: the session's key gets another revision. Once in a TTL it cleans up, too.
func (s *session) Renew(ctx context.Context) error {
	r, err := s.d.store.Do(ctx, kv.Txn{
		If: []kv.Compare{s.alive()}, Then: []kv.Op{kv.PutOp(s.d.session(s.id), []byte(s.ttl.String()), 0)},
	})
	if err == nil && !r.Succeeded {
		err = driver.ErrLost
	}
	if err != nil {
		return fmt.Errorf("renew session: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.ttl/10) // the answer is waited for
	defer cancel()
	s.d.tidy(ctx, s.ttl)
	return nil
}

// Enter implements driver.Session. The transaction holds only while the guard is where it was when the request was made,
// so that one that comes late, after Leave has moved the guard, does nothing.
func (s *session) Enter(ctx context.Context, name, id, value string) error {
	key := s.key(name, id)
	s.mu.Lock()
	s.doubt[key]++
	s.mu.Unlock()
	err := s.enter(ctx, key, value)
	if err != nil && !errors.Is(err, driver.ErrLost) {
		return fmt.Errorf("enter %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doubt[key]--; s.doubt[key] == 0 {
		delete(s.doubt, key)
	}
	if err != nil {
		return fmt.Errorf("enter %s: %w", name, err)
	}
	return nil
}

func (s *session) enter(ctx context.Context, key, value string) error {
	for range maxConflicts {
		guard := kv.Revision(s.d.guard(s.id), kv.Equal, s.guarded())
		r, err := s.d.store.Do(ctx, kv.Txn{
			If:   []kv.Compare{s.alive(), kv.Absent(key), guard},
			Then: []kv.Op{kv.PutOp(key, []byte(value), 0)},
			Else: []kv.Op{kv.GetOp(s.d.session(s.id)), kv.GetOp(key), kv.GetOp(s.d.guard(s.id))},
		})
		switch {
		case err != nil:
			return err
		case r.Succeeded:
			return nil
		case r.Before[0] == nil:
			return driver.ErrLost
		case r.Before[1] != nil:
			return nil
		case r.Before[2] == nil:
			return driver.ErrLost // there was a guard, and it goes with the session
		}
		s.moved(r.Before[2].Revision)
	}
	return errConflicts
}

// place is one in a queue, and the session that it is of.
type place struct{ ticket, session kv.Item }

// queue is what is before a ticket.
type queue struct {
	last *place    // the one right before it, nil if there is none
	due  []kv.Item // sessions that have places before it, and were not renewed for their TTL
	dead []kv.Item // tickets whose sessions have ended
}

// before returns what is before a ticket at a view. It notes since when all the sessions were seen, so that those that end
// at once are found to have at once.
func (s *session) before(v *kv.View, name, key string) (queue, error) {
	own, ok := v.Get(key)
	if _, alive := v.Get(s.d.session(s.id)); !alive {
		return queue{}, driver.ErrLost
	}
	if !ok {
		return queue{}, driver.ErrGone
	}
	var q queue
	judged := make(map[string]bool)
	for ticket := range v.Prefix(s.d.queue(name)) {
		id, _, _ := strings.Cut(strings.TrimPrefix(ticket.Key, s.d.queue(name)), "-")
		session, alive := v.Get(s.d.session(id))
		if !alive {
			q.dead = append(q.dead, ticket)
			continue
		}
		if ticket.Created >= own.Created {
			continue
		}
		if q.last == nil || ticket.Created > q.last.ticket.Created {
			q.last = &place{ticket, session}
		}
		if !judged[session.Key] {
			judged[session.Key] = true
			if s.d.due(session) {
				q.due = append(q.due, session)
			}
		}
	}
	return q, nil
}

// Wait implements driver.Session.
func (s *session) Wait(ctx context.Context, name, id string) error {
	for {
		v, err := s.d.store.View(ctx, replica.Linearizable)
		var q queue
		if err == nil {
			q, err = s.before(v, name, s.key(name, id))
		}
		switch {
		case err != nil:
		case len(q.due) > 0:
			err = s.d.expire(ctx, q.due)
		case q.last != nil:
			err = s.outlast(ctx, v.Revision(), q.last)
		default:
			return nil
		}
		if err != nil {
			return fmt.Errorf("wait for %s: %w", name, err)
		}
	}
}

// outlast waits until something happens to a ticket or its session, or it is time to look again.
func (s *session) outlast(ctx context.Context, after uint64, p *place) error {
	ttl := lasts(p.session)
	left := max(time.Until(s.d.seen(p.session).Add(ttl)), time.Millisecond)
	turn, cancel := context.WithTimeout(ctx, min(left, ttl/3))
	defer cancel()
	for w := s.d.store.Watch(s.d.prefix, after); ; {
		events, err := w.Next(turn)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case turn.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		for _, e := range events {
			if e.Item.Key == p.ticket.Key || e.Item.Key == p.session.Key {
				return nil
			}
		}
	}
}

// Claim implements driver.Session. That nothing is before the ticket is seen first: it stays so, since what comes later is
// behind it. The transaction holds if ticket and session are there, the epoch is settled, and the last token is the one that
// the new one was made of.
func (s *session) Claim(ctx context.Context, name, id string, floor uint64) (token uint64, err error) {
	if token, err = s.claim(ctx, name, s.key(name, id), floor); err != nil {
		return 0, fmt.Errorf("claim %s: %w", name, err)
	}
	return token, nil
}

func (s *session) claim(ctx context.Context, name, key string, floor uint64) (uint64, error) {
	for range maxConflicts {
		v, err := s.d.store.View(ctx, replica.Linearizable)
		if err != nil {
			return 0, err
		}
		q, err := s.before(v, name, key)
		if err != nil {
			return 0, err
		}
		if len(q.due) > 0 { // nobody else may end them: those who try do not wait
			if err := s.d.expire(ctx, q.due); err != nil {
				return 0, err
			}
			continue
		}
		if q.last != nil {
			return 0, driver.ErrNotFirst
		}
		if _, ok := v.Get(s.d.settled()); !ok {
			return 0, driver.ErrUnsettled
		}
		own, _ := v.Get(key)
		last, _ := v.Get(s.d.token(name))
		token := max(decodeToken(last.Value)+1, floor)
		holder, err := json.Marshal(record{Token: token, Name: s.holder, Value: string(own.Value), Session: s.id, Ticket: key})
		if err != nil {
			return 0, err
		}
		then := []kv.Op{
			kv.PutOp(s.d.token(name), []byte(strconv.FormatUint(token, 10)), 0), kv.PutOp(s.d.holder(name), holder, 0),
		}
		for _, ticket := range q.dead[:min(len(q.dead), maxBatch)] {
			then = append(then, kv.DeleteOp(ticket.Key))
		}
		r, err := s.d.store.Do(ctx, kv.Txn{
			If: []kv.Compare{
				s.alive(), kv.Created(key, kv.Equal, own.Created), kv.Exists(s.d.settled()),
				kv.Revision(s.d.token(name), kv.Equal, last.Revision),
			},
			Then: then,
		})
		if err != nil {
			return 0, err
		}
		if r.Succeeded {
			return token, nil
		}
	}
	return 0, errConflicts
}

// Leave implements driver.Session.
func (s *session) Leave(ctx context.Context, name, id string) error {
	if err := s.leave(ctx, name, s.key(name, id)); err != nil {
		return fmt.Errorf("leave %s: %w", name, err)
	}
	return nil
}

func (s *session) leave(ctx context.Context, name, key string) error {
	s.mu.Lock()
	doubt := s.doubt[key] > 0
	s.mu.Unlock()
	if doubt {
		r, err := s.d.store.Do(ctx, kv.Txn{If: []kv.Compare{s.alive()}, Then: []kv.Op{kv.PutOp(s.d.guard(s.id), nil, 0)}})
		if err != nil {
			return err
		}
		if !r.Succeeded {
			return driver.ErrLost
		}
		s.moved(r.Revision)
	}
	v, err := s.d.store.View(ctx, replica.Linearizable)
	if err != nil {
		return err
	}
	ops := []kv.Op{kv.DeleteOp(key)}
	var unchanged []kv.Compare
	held, ok := v.Get(s.d.holder(name))
	if ok && decode(held.Value).Ticket == key {
		// Nobody else can claim before the ticket is gone, and a claim of this one that comes later needs it.
		unchanged = []kv.Compare{kv.Revision(held.Key, kv.Equal, held.Revision)}
		ops = append(ops, kv.DeleteOp(held.Key))
	}
	// A holder's record without its ticket is nobody's.
	if _, err := s.d.store.Do(ctx, kv.Txn{If: unchanged, Then: ops, Else: []kv.Op{kv.DeleteOp(key)}}); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.doubt, key)
	return nil
}

// End implements driver.Session.
func (s *session) End(ctx context.Context) error {
	if _, err := s.d.store.Do(ctx, kv.Txn{Then: []kv.Op{kv.DeleteOp(s.d.session(s.id))}}); err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	s.d.sweep(ctx)
	return nil
}
