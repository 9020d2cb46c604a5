// Package replicalock keeps locks in a replicated store (package replica/kv) that this process is a member of: services
// that have their state there need no etcd or Consul for their locks.
//
//	locks/NAME/SESSION-TICKET   a place in a queue
//	holder/NAME                 who holds
//	session/SESSION             written anew with each renewal
//	guard/SESSION               moves on when a request of unknown outcome is given up
//	token/NNN                   the largest token given out of the locks whose names hash to NNN
//	epoch, settled              since when the store remembers, and that it is long enough
//
// # When a session ends
//
// No clock on the wall has a part in it: the store's own TTL goes by the leader's, and is not used. A session ends when a
// process has seen its key, by its own monotonic clock, not to be written for the session's TTL, and removes it under the
// condition that it was not written since (the lease of C. Gray and D. Cheriton, with the others as the server). Who waits,
// or tries, looks at all sessions before it; each process that has a session of its own looks at all there are once in a
// TTL, and removes what ended ones have left. So only the rates of clocks matter, and a session that nobody waits for is
// named by Holder for up to three TTLs after its process died; where no process is left, until one comes.
package replicalock

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/lock/driver"
	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/replica/kv"
)

const (
	// buckets bounds what is remembered of locks that nobody wants any more: their tokens share these records.
	buckets = 1024
	// maxConflicts is how often a transaction is tried while others change what it is about.
	maxConflicts = 20
	// maxBatch bounds a transaction that cleans up: with the keys and values that package lock writes it is far below what a
	// store takes.
	maxBatch = 48
)

// store is what a Driver needs of a *kv.Store.
type store interface {
	Do(ctx context.Context, t kv.Txn, opts ...kv.WriteOption) (kv.TxnResult, error)
	View(ctx context.Context, level replica.Level) (*kv.View, error)
	Watch(prefix string, after uint64) *kv.Watcher
}

// Driver implements driver.Engine on a replicated store.
type Driver struct {
	store  store
	prefix string

	mu       sync.Mutex
	sessions map[string]sighting // of others, by key
	swept    time.Time
}

// sighting is since when a session was seen not to have been renewed.
type sighting struct {
	revision uint64
	since    time.Time
}

// maxSightings bounds what is remembered. Who is forgotten is given another TTL.
const maxSightings = 1 << 16

// seen returns since when a session was seen to be as it is.
func (d *Driver) seen(session kv.Item) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.sessions[session.Key]
	if !ok || s.revision != session.Revision {
		if len(d.sessions) >= maxSightings {
			clear(d.sessions)
		}
		s = sighting{session.Revision, time.Now()}
		d.sessions[session.Key] = s
	}
	return s.since
}

// New returns a Driver on a store, whose keys begin with prefix ("": "locks/"). It may be shared with other data under
// other prefixes. The caller runs the store, and stops it after the Locker was closed.
func New(s *kv.Store, prefix string) *Driver { return on(s, prefix) }

func on(s store, prefix string) *Driver {
	if prefix == "" {
		prefix = "locks/"
	}
	return &Driver{store: s, prefix: prefix, sessions: make(map[string]sighting)}
}

// Close implements driver.Engine: the store is the caller's.
func (d *Driver) Close() error { return nil }

func (d *Driver) queue(name string) string  { return d.prefix + "locks/" + url.PathEscape(name) + "/" }
func (d *Driver) holder(name string) string { return d.prefix + "holder/" + url.PathEscape(name) }
func (d *Driver) session(id string) string  { return d.prefix + "session/" + id }
func (d *Driver) guard(id string) string    { return d.prefix + "guard/" + id }
func (d *Driver) epoch() string             { return d.prefix + "epoch" }
func (d *Driver) settled() string           { return d.prefix + "settled" }

// token is the key of the record that a lock shares with others.
func (d *Driver) token(name string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return fmt.Sprintf("%stoken/%03x", d.prefix, h.Sum32()%buckets)
}

// Open implements driver.Engine.
func (d *Driver) Open(ctx context.Context, ttl time.Duration, holder string) (driver.Session, error) {
	s := &session{d: d, id: rand.Text(), holder: holder, ttl: ttl, doubt: make(map[string]int)}
	put := kv.PutOp(d.session(s.id), []byte(ttl.String()), 0)
	r, err := d.store.Do(ctx, kv.Txn{If: []kv.Compare{kv.Absent(d.session(s.id))}, Then: []kv.Op{put}})
	if err == nil && !r.Succeeded {
		err = errTwice
	}
	if err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	return s, nil
}

// record is the value of a holder's key.
type record struct {
	Token   uint64 `json:"token"`
	Name    string `json:"name,omitempty"`
	Value   string `json:"value,omitempty"`
	Session string `json:"session"`
	Ticket  string `json:"ticket"` // its key
}

// maxRecord bounds what is read as one: twice what package lock writes, each byte of it escaped.
const maxRecord = 128 << 10

// decode reads what somebody may have written by hand: what cannot be read is nobody.
func decode(b []byte) record {
	var r record
	if len(b) > maxRecord || json.Unmarshal(b, &r) != nil || r.Token == 0 {
		return record{}
	}
	return r
}

// decodeToken reads the record of a bucket. One that cannot be read counts as none: the clock is the floor then, as it is
// after a loss of all.
func decodeToken(b []byte) uint64 {
	token, err := strconv.ParseUint(string(b), 10, 63)
	if err != nil {
		return 0
	}
	return token
}

// Holder implements driver.Engine: a linearizable read.
func (d *Driver) Holder(ctx context.Context, name string) (h driver.Holder, revision uint64, err error) {
	v, err := d.store.View(ctx, replica.Linearizable)
	if err != nil {
		return driver.Holder{}, 0, fmt.Errorf("holder of %s: %w", name, err)
	}
	item, _ := v.Get(d.holder(name))
	r := decode(item.Value)
	_, alive := v.Get(d.session(r.Session))
	if _, queued := v.Get(r.Ticket); !alive || !queued {
		r = record{} // its session has ended, and nobody has come since
	}
	return driver.Holder{Name: r.Name, Value: r.Value, Token: r.Token}, v.Revision(), nil
}

// Await implements driver.Engine, by watching what this member applies.
func (d *Driver) Await(ctx context.Context, name string, revision uint64) error {
	w := d.store.Watch(d.prefix, revision)
	for {
		events, err := w.Next(ctx)
		if err != nil {
			return fmt.Errorf("await %s: %w", name, err)
		}
		for _, e := range events {
			gone := e.Type != kv.Put && strings.HasPrefix(e.Item.Key, d.prefix+"session/")
			if gone || e.Item.Key == d.holder(name) || e.Type != kv.Put && strings.HasPrefix(e.Item.Key, d.queue(name)) {
				return nil
			}
		}
	}
}

// Epoch implements driver.Engine.
func (d *Driver) Epoch(ctx context.Context) (driver.Epoch, error) {
	id := rand.Text()
	r, err := d.store.Do(ctx, kv.Txn{
		If:   []kv.Compare{kv.Absent(d.epoch())},
		Then: []kv.Op{kv.PutOp(d.epoch(), []byte(id), 0), kv.DeleteOp(d.settled())},
		Else: []kv.Op{kv.GetOp(d.epoch()), kv.GetOp(d.settled())},
	})
	switch {
	case err != nil:
		return driver.Epoch{}, fmt.Errorf("epoch: %w", err)
	case r.Succeeded:
		return driver.Epoch{ID: id}, nil
	}
	return driver.Epoch{ID: string(r.Before[0].Value), Settled: r.Before[1] != nil}, nil
}

// Settle implements driver.Engine.
func (d *Driver) Settle(ctx context.Context, id string) error {
	_, err := d.store.Do(ctx, kv.Txn{
		If:   []kv.Compare{kv.Value(d.epoch(), kv.Equal, []byte(id))},
		Then: []kv.Op{kv.PutOp(d.settled(), []byte(id), 0)},
	})
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}
