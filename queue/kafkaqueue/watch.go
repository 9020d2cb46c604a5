package kafkaqueue

import (
	"container/heap"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"
)

func (r *receiver) hold(it *item) {
	heap.Push(&r.held, it)
	if len(r.held) >= maxHeld && !r.resting {
		r.resting = true
		r.client.PauseFetchTopics(r.again)
	}
}

// ids returns the IDs of topics, which a topic that is created again under its name does not keep.
func (d *Driver) ids(ctx context.Context, names ...string) (map[string][16]byte, error) {
	meta, err := d.admin.Metadata(ctx, names...)
	if err != nil {
		return nil, err
	}
	out := make(map[string][16]byte, len(names))
	for _, name := range names {
		t, ok := meta.Topics[name]
		if !ok {
			return nil, fmt.Errorf("topic %s is not there", name)
		}
		if t.Err != nil {
			return nil, fmt.Errorf("topic %s: %w", name, t.Err)
		}
		out[name] = t.ID
	}
	return out, nil
}

// watch sees to it that the topics are there, and that they are the ones we receive from: of a broker that was wiped, the
// client would wait for the topics it knew for ever.
func (r *receiver) watch() {
	for {
		t := time.NewTimer(watchEvery/2 + rand.N(watchEvery))
		select {
		case <-t.C:
		case <-r.life.Done():
			t.Stop()
			return
		}
		ctx, cancel := context.WithTimeout(r.life, watchEvery)
		r.look(ctx)
		cancel()
	}
}

func (r *receiver) look(ctx context.Context) {
	ids, err := r.d.ids(ctx, r.s.Topic, r.again)
	if err != nil {
		if !unknown(err) {
			return // the broker is away
		}
		for _, name := range []string{r.s.Topic, r.again, deadTopic(r.s.Topic, r.s.Group)} {
			r.d.lost(name)
		}
		if err := r.d.ensureGroup(ctx, r.s.Topic, r.s.Group); err != nil {
			return // there is a next time
		}
		if ids, err = r.d.ids(ctx, r.s.Topic, r.again); err != nil {
			return
		}
	}
	r.mu.Lock()
	same := r.stopped || maps.Equal(r.ids, ids)
	r.mu.Unlock()
	if !same {
		r.rejoin(ids)
	}
}

// rejoin begins anew, with a member that knows the topics as they are now.
func (r *receiver) rejoin(ids map[string][16]byte) {
	r.d.cfg.Logger.Warn("kafka: the topic was created anew: receiving from its beginning", "topic", r.s.Topic, "group", r.s.Group)
	r.mu.Lock()
	old := r.client
	client, err := r.join()
	if err != nil { // the options are those of the first, so that there is none
		r.mu.Unlock()
		return
	}
	for _, p := range r.parts {
		r.drop(p)
	}
	r.client, r.ids, r.resting = client, ids, false
	r.held = nil
	clear(r.past) // of offsets that are others' now
	if r.endPoll != nil {
		r.endPoll()
	}
	r.mu.Unlock()
	r.changed()
	ctx, cancel := context.WithTimeout(r.life, leaveWithin)
	_ = old.LeaveGroupContext(ctx) // or the group notices by itself
	cancel()
	old.Close()
}
