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

// Renew implements driver.Session: the session's key gets another revision.
func (s *session) Renew(ctx context.Context) error {
	r, err := s.d.store.Do(ctx, kv.Txn{
		If: []kv.Compare{s.alive()}, Then: []kv.Op{kv.PutOp(s.d.session(s.id), []byte(s.ttl.String()), s.ttl+litter)},
	})
	if err == nil && !r.Succeeded {
		err = driver.ErrLost
	}
	if err != nil {
		return fmt.Errorf("renew session: %w", err)
	}
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

// ahead is the place before another, and the session that it is of.
type ahead struct{ ticket, session kv.Item }

// before returns what is before a ticket at a view, nil if nothing is.
func (s *session) before(v *kv.View, name, key string) (*ahead, error) {
	own, ok := v.Get(key)
	if _, alive := v.Get(s.d.session(s.id)); !alive {
		return nil, driver.ErrLost
	}
	if !ok {
		return nil, driver.ErrGone
	}
	var last *ahead
	for ticket, session := range s.d.tickets(v, name) {
		if ticket.Created < own.Created && (last == nil || ticket.Created > last.ticket.Created) {
			last = &ahead{ticket, session}
		}
	}
	return last, nil
}

// Wait implements driver.Session.
func (s *session) Wait(ctx context.Context, name, id string) error {
	for {
		v, err := s.d.store.View(ctx, replica.Linearizable)
		var first *ahead
		if err == nil {
			first, err = s.before(v, name, s.key(name, id))
		}
		if err == nil && first != nil {
			err = s.outlast(ctx, v.Revision(), first)
		}
		if err != nil {
			return fmt.Errorf("wait for %s: %w", name, err)
		}
		if first == nil {
			return nil
		}
	}
}

// outlast waits until something happens to a ticket or its session, or it is time to look again. A session that was not
// renewed for its TTL since this process has seen it so, it ends.
func (s *session) outlast(ctx context.Context, after uint64, a *ahead) error {
	ttl := lasts(a.session)
	due := s.d.seen(a.session).Add(ttl)
	now := time.Now()
	if !now.Before(due) {
		return s.expire(ctx, a.session)
	}
	turn, cancel := context.WithDeadline(ctx, now.Add(min(due.Sub(now), ttl/3)))
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
			if e.Item.Key == a.ticket.Key || e.Item.Key == a.session.Key {
				return nil
			}
		}
	}
}

// lasts is the TTL of a session; of one that was written by hand it is long.
func lasts(session kv.Item) time.Duration {
	ttl, err := time.ParseDuration(string(session.Value))
	if err != nil || ttl <= 0 {
		return time.Minute
	}
	return ttl
}

// expire ends a session if its key is still as it was seen.
func (s *session) expire(ctx context.Context, session kv.Item) error {
	r, err := s.d.store.Do(ctx, kv.Txn{
		If: []kv.Compare{kv.Revision(session.Key, kv.Equal, session.Revision)}, Then: []kv.Op{kv.DeleteOp(session.Key)},
	})
	if err == nil && r.Succeeded {
		s.d.sweep(ctx, strings.TrimPrefix(session.Key, s.d.prefix+"session/"))
	}
	return err
}

// sweep removes what is left of a session that has ended. Nothing depends on it: what has no session is not there.
func (d *Driver) sweep(ctx context.Context, id string) {
	v, err := d.store.View(ctx, replica.Eventual)
	if err != nil {
		return
	}
	ops := []kv.Op{kv.DeleteOp(d.guard(id))}
	for item := range v.Prefix(d.prefix + "locks/") {
		if at := strings.LastIndexByte(item.Key, '/'); strings.HasPrefix(item.Key[at+1:], id+"-") && len(ops) < 64 {
			ops = append(ops, kv.DeleteOp(item.Key))
		}
	}
	_, _ = d.store.Do(ctx, kv.Txn{If: []kv.Compare{kv.Absent(d.session(id))}, Then: ops})
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
		first, err := s.before(v, name, key)
		if err != nil {
			return 0, err
		}
		if first != nil {
			if time.Since(s.d.seen(first.session)) < lasts(first.session) {
				return 0, driver.ErrNotFirst
			}
			if err := s.expire(ctx, first.session); err != nil { // nobody else may: those who try do not wait
				return 0, err
			}
			continue
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
		r, err := s.d.store.Do(ctx, kv.Txn{
			If: []kv.Compare{
				s.alive(), kv.Created(key, kv.Equal, own.Created), kv.Exists(s.d.settled()),
				kv.Revision(s.d.token(name), kv.Equal, last.Revision),
			},
			Then: []kv.Op{
				kv.PutOp(s.d.token(name), []byte(strconv.FormatUint(token, 10)), 0), kv.PutOp(s.d.holder(name), holder, 0),
			},
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
	s.d.sweep(ctx, s.id)
	return nil
}
