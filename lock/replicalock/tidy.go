package replicalock

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/replica/kv"
)

// lasts is the TTL of a session; of one that was written by hand it is long.
func lasts(session kv.Item) time.Duration {
	ttl, err := time.ParseDuration(string(session.Value))
	if err != nil || ttl <= 0 {
		return time.Minute
	}
	return ttl
}

// due reports whether a session was seen not to be renewed for its TTL.
func (d *Driver) due(session kv.Item) bool { return time.Since(d.seen(session)) >= lasts(session) }

// expire ends sessions whose keys are still as they were seen, all or none, and removes what they leave.
func (d *Driver) expire(ctx context.Context, sessions []kv.Item) error {
	for batch := range slices.Chunk(sessions, maxBatch) {
		var t kv.Txn
		for _, session := range batch {
			t.If = append(t.If, kv.Revision(session.Key, kv.Equal, session.Revision))
			t.Then = append(t.Then, kv.DeleteOp(session.Key))
		}
		if _, err := d.store.Do(ctx, t); err != nil {
			return err
		}
	}
	d.sweep(ctx)
	return nil
}

// tidy ends, once in every, all sessions that are due, and removes what ended ones have left. What it does not get to, it or
// another process does the next time.
func (d *Driver) tidy(ctx context.Context, every time.Duration) {
	d.mu.Lock()
	again := time.Since(d.swept) >= every
	if again {
		d.swept = time.Now()
	}
	d.mu.Unlock()
	if !again {
		return
	}
	v, err := d.store.View(ctx, replica.Eventual) // a session that was renewed since is not ended
	if err != nil {
		return
	}
	var due []kv.Item
	for session := range v.Prefix(d.prefix + "session/") {
		if d.due(session) {
			due = append(due, session)
		}
	}
	d.forget(v)
	for batch := range slices.Chunk(due, maxBatch) {
		if d.expire(ctx, batch) != nil {
			return
		}
	}
	if len(due) == 0 {
		d.sweep(ctx)
	}
}

// forget drops the sightings of sessions that are no more.
func (d *Driver) forget(v *kv.View) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key := range d.sessions {
		if _, ok := v.Get(key); !ok {
			delete(d.sessions, key)
		}
	}
}

// sweep removes what is left of sessions that have ended. Nothing depends on it: what has no session is not there, and a
// session that has ended does not come back.
func (d *Driver) sweep(ctx context.Context) {
	v, err := d.store.View(ctx, replica.Eventual)
	if err != nil {
		return
	}
	alive := func(id string) bool {
		_, ok := v.Get(d.session(id))
		return ok
	}
	var left []kv.Op
	for item := range v.Prefix(d.prefix + "locks/") {
		ticket := item.Key[strings.LastIndexByte(item.Key, '/')+1:]
		if id, _, _ := strings.Cut(ticket, "-"); !alive(id) {
			left = append(left, kv.DeleteOp(item.Key))
		}
	}
	for item := range v.Prefix(d.prefix + "guard/") {
		if !alive(strings.TrimPrefix(item.Key, d.prefix+"guard/")) {
			left = append(left, kv.DeleteOp(item.Key))
		}
	}
	for batch := range slices.Chunk(left, maxBatch) {
		if _, err := d.store.Do(ctx, kv.Txn{Then: batch}); err != nil {
			return
		}
	}
	for item := range v.Prefix(d.prefix + "holder/") {
		r := decode(item.Value)
		if _, queued := v.Get(r.Ticket); queued && alive(r.Session) {
			continue
		}
		// Another may hold by now.
		if _, err := d.store.Do(ctx, kv.Txn{
			If: []kv.Compare{kv.Revision(item.Key, kv.Equal, item.Revision)}, Then: []kv.Op{kv.DeleteOp(item.Key)},
		}); err != nil {
			return
		}
	}
}
