package etcdlock

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/holdfast-go/holdfast/internal/etcdmember"
	"github.com/holdfast-go/holdfast/lock/driver"
)

var errConflicts = errors.New("keys keep changing")

// session is a lease. It implements driver.Session.
type session struct {
	d      *Driver
	holder string
	lease  clientv3.LeaseID
	ttl    time.Duration

	mu      sync.Mutex
	tickets map[string]*ticket // by key
	guard   int64              // the revision of the guard that Enter goes by; 0 while there is none

	// The stream for renewals is kept between them: with a password, opening one costs etcd a bcrypt.
	renewing sync.Mutex
	stream   pb.Lease_LeaseKeepAliveClient
	on       *etcdmember.Session // what stream runs on
	cancel   context.CancelFunc
}

// ticket is what this side knows of a key in a queue.
type ticket struct {
	value   string
	created int64 // its revision; 0 if that is not known
	doubt   int   // calls of which a request to create it may be under way still
}

// ID implements driver.Session: the lease as etcdctl prints it.
func (s *session) ID() string { return strconv.FormatInt(int64(s.lease), 16) }

// TTL implements driver.Session.
func (s *session) TTL() time.Duration { return s.ttl }

func (s *session) key(name, id string) string {
	return fmt.Sprintf("%s/queue/%016x-%s", s.d.lock(name), int64(s.lease), id)
}

func (s *session) guardKey() string { return s.d.prefix + "/guards/" + s.ID() }

// do runs f on etcd and says what its errors mean.
func (s *session) do(ctx context.Context, what string, f func(context.Context, *etcdmember.Session) error) error {
	err := s.d.cluster.Do(ctx, f)
	if err != nil && leaseGone(err) {
		err = driver.ErrLost
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
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

func (s *session) learn(key string, f func(*ticket)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tickets[key]
	if t == nil {
		t = &ticket{}
		s.tickets[key] = t
	}
	f(t)
}

func (s *session) forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tickets, key)
}

func (s *session) guarded() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.guard
}

// moved remembers the newest revision of the guard.
func (s *session) moved(revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.guard = max(s.guard, revision)
}

// Enter implements driver.Session. The transaction holds only while the guard is where it was when the request was made,
// so that one that comes late, after Leave has moved the guard, does nothing.
func (s *session) Enter(ctx context.Context, name, id, value string) error {
	key := s.key(name, id)
	s.learn(key, func(t *ticket) { t.value = value; t.doubt++ })
	sent := 0
	err := s.do(ctx, "enter "+name, func(ctx context.Context, m *etcdmember.Session) error {
		for range maxConflicts {
			sent++
			resp, err := s.entering(m.KV.Txn(ctx), key, value).Commit()
			if err != nil {
				return err
			}
			created := resp.Header.Revision
			if !resp.Succeeded {
				sent-- // it has an answer, and did nothing
				own, guard := resp.Responses[0].GetResponseRange().GetKvs(), resp.Responses[1].GetResponseRange().GetKvs()
				if len(own) == 0 {
					if len(guard) == 0 {
						return driver.ErrLost // there was one, and it goes with the lease
					}
					s.moved(guard[0].ModRevision)
					continue
				}
				created = own[0].CreateRevision
			}
			s.learn(key, func(t *ticket) { t.created = created })
			return nil
		}
		return errConflicts
	})
	if err == nil && sent <= 1 {
		s.learn(key, func(t *ticket) { t.doubt-- }) // this call's; that of one before stays
	}
	return err
}

// entering is the transaction of an Enter that is made now.
func (s *session) entering(txn clientv3.Txn, key, value string) clientv3.Txn {
	return txn.
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0),
			clientv3.Compare(clientv3.ModRevision(s.guardKey()), "=", s.guarded())).
		Then(clientv3.OpPut(key, value, clientv3.WithLease(s.lease))).
		Else(clientv3.OpGet(key), clientv3.OpGet(s.guardKey()))
}

// Wait implements driver.Session.
func (s *session) Wait(ctx context.Context, name, id string) error {
	key := s.key(name, id)
	for {
		before, revision, err := s.before(ctx, name, key)
		if err == nil && before != "" {
			err = s.d.change(ctx, before, revision+1, true)
		}
		if err != nil {
			return fmt.Errorf("wait for %s: %w", name, err)
		}
		if before == "" {
			return nil
		}
	}
}

// before returns the key before another in its queue, "" if there is none, and at which revision that was so.
func (s *session) before(ctx context.Context, name, key string) (before string, revision int64, err error) {
	err = s.d.cluster.Do(ctx, func(ctx context.Context, m *etcdmember.Session) error {
		own, err := m.KV.Get(ctx, key, clientv3.WithKeysOnly())
		if err != nil {
			return err
		}
		if len(own.Kvs) == 0 {
			return driver.ErrGone
		}
		created := own.Kvs[0].CreateRevision
		s.learn(key, func(t *ticket) { t.created = created })
		resp, err := m.KV.Get(ctx, s.d.lock(name)+"/queue/", clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithMaxCreateRev(created-1),
			clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend), clientv3.WithLimit(1))
		if err != nil {
			return err
		}
		before, revision = "", resp.Header.Revision
		if len(resp.Kvs) > 0 {
			before = string(resp.Kvs[0].Key)
		}
		return nil
	})
	return before, revision, err
}

// Claim implements driver.Session: one transaction that holds if the ticket is there, none is before it, the epoch is
// settled, and the last token is the one that the new one was made of. When it does not hold, it says what is so.
func (s *session) Claim(ctx context.Context, name, id string, floor uint64) (token uint64, err error) {
	key := s.key(name, id)
	err = s.do(ctx, "claim "+name, func(ctx context.Context, m *etcdmember.Session) error {
		for range maxConflicts {
			t, last := s.know(key), s.d.last(name)
			created := t.created
			token = max(last.token+1, floor)
			holder, err := encodeHolder(driver.Holder{Name: s.holder, Value: t.value, Token: token})
			if err != nil {
				return err
			}
			resp, err := m.KV.Txn(ctx).
				If(clientv3.Compare(clientv3.CreateRevision(key), "=", max(created, 1)),
					clientv3.Compare(clientv3.CreateRevision(s.d.lock(name)+"/queue/"), ">", created-1).WithPrefix(),
					clientv3.Compare(clientv3.CreateRevision(s.d.settled()), ">", 0),
					last.unchanged(s.d.token(name))).
				Then(clientv3.OpPut(s.d.token(name), strconv.FormatUint(token, 10)),
					clientv3.OpPut(s.d.holder(name), holder, clientv3.WithLease(s.lease))).
				Else(clientv3.OpGet(key), clientv3.OpGet(s.d.settled(), clientv3.WithKeysOnly()), clientv3.OpGet(s.d.token(name)),
					clientv3.OpGet(s.d.lock(name)+"/queue/", clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(1),
						clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))).
				Commit()
			if err != nil {
				return err
			}
			if resp.Succeeded {
				s.d.remember(name, stored{strconv.FormatUint(token, 10), token})
				return nil
			}
			if err := s.why(name, key, resp); err != nil {
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

// why learns from a claim that did not hold, and returns the reason, or nil if it is worth another try.
func (s *session) why(name, key string, resp *clientv3.TxnResponse) error {
	own, settled := resp.Responses[0].GetResponseRange().GetKvs(), resp.Responses[1].GetResponseRange().GetKvs()
	token, first := resp.Responses[2].GetResponseRange().GetKvs(), resp.Responses[3].GetResponseRange().GetKvs()
	if len(own) == 0 {
		return driver.ErrGone
	}
	s.learn(key, func(t *ticket) { t.created = own[0].CreateRevision })
	last := stored{}
	if len(token) > 0 {
		last = stored{string(token[0].Value), decodeToken(token[0].Value)}
	}
	s.d.remember(name, last)
	switch {
	case len(first) > 0 && string(first[0].Key) != key:
		return driver.ErrNotFirst
	case len(settled) == 0:
		return driver.ErrUnsettled
	}
	return nil
}

func (d *Driver) last(name string) stored {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tokens[d.token(name)]
}

// remember keeps what was seen last; what is older, or of an etcd that is no more, is found out by the next claim.
func (d *Driver) remember(name string, s stored) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tokens[d.token(name)] = s
}

// Leave implements driver.Session. With the first in the queue goes what it holds: nobody else can hold before it is gone.
func (s *session) Leave(ctx context.Context, name, id string) error {
	key := s.key(name, id)
	err := s.do(ctx, "leave "+name, func(ctx context.Context, m *etcdmember.Session) error {
		if s.know(key).doubt > 0 {
			resp, err := m.KV.Put(ctx, s.guardKey(), "", clientv3.WithLease(s.lease))
			if err != nil {
				return err
			}
			s.moved(resp.Header.Revision)
		}
		created := s.know(key).created
		if created == 0 {
			own, err := m.KV.Get(ctx, key, clientv3.WithKeysOnly())
			if err != nil || len(own.Kvs) == 0 {
				return err
			}
			created = own.Kvs[0].CreateRevision
		}
		_, err := m.KV.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(key), "=", created),
				clientv3.Compare(clientv3.CreateRevision(s.d.lock(name)+"/queue/"), ">", created-1).WithPrefix()).
			Then(clientv3.OpDelete(key), clientv3.OpDelete(s.d.holder(name))).
			Else(clientv3.OpDelete(key)).Commit()
		return err
	})
	if err == nil || errors.Is(err, driver.ErrLost) {
		s.forget(key)
	}
	return err
}

// End implements driver.Session.
func (s *session) End(ctx context.Context) error {
	err := s.do(ctx, "end session", func(ctx context.Context, m *etcdmember.Session) error {
		_, err := m.Lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: int64(s.lease)})
		return err
	})
	s.renewing.Lock()
	defer s.renewing.Unlock()
	s.hangUp()
	if errors.Is(err, driver.ErrLost) {
		return nil
	}
	return err
}
