package kafkaqueue

import (
	"container/heap"
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// commitEvery is how far commits are behind what is settled, at most, while the broker is well.
	commitEvery   = 100 * time.Millisecond
	commitTimeout = 3 * time.Second
	// joinSlack is for how long a rebalance waits for an instance beyond its RevokeWait and its last commit. The client waits
	// little longer for the answer to a join, which a broker that was killed meanwhile may never give.
	joinSlack = 3 * time.Second
	// watchEvery is how often it is seen whether the topics are still the same, and all partitions somebody's.
	watchEvery = 5 * time.Second
	// firstWatch is when that is seen first.
	firstWatch = time.Second
	// renewEvery is how often, at most, a client is replaced that does not receive from all partitions: what is in hand comes again.
	renewEvery = time.Minute
)

// join returns a new member of the group; r.mu is held, so that it is r.client before it is heard of. Rebalances are cooperative, and never wait for a poll: what a poll returned is
// sorted out under r.mu, and partitions that are new wait for the poll that is under way (barrier).
func (r *receiver) join() (*kgo.Client, context.CancelFunc, error) {
	session := r.session()
	// mine keeps the callbacks of a client that was replaced from what is its successor's.
	mine := func(f func(*kgo.Client, map[string][]int32)) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, c *kgo.Client, parts map[string][]int32) {
			if r.current(c) {
				f(c, parts)
			}
		}
	}
	var others []place // whose offsets are those of a topic that was; of one goroutine of the client
	opts := append([]kgo.Opt{
		kgo.ConsumerGroup(r.group), kgo.ConsumeTopics(r.s.Topic, r.again), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(session), kgo.HeartbeatInterval(min(session/4, 2*time.Second)), kgo.RebalanceTimeout(r.d.cfg.RevokeWait + commitTimeout + joinSlack),
		kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxWait(time.Second),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), // the ends of transactions, which are offsets too
		kgo.OnPartitionsAssigned(mine(r.assigned)), kgo.OnPartitionsRevoked(mine(r.revoked)), kgo.OnPartitionsLost(mine(r.lost)),
		kgo.OnOffsetsFetched(func(_ context.Context, c *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
			others = nil
			if r.current(c) {
				others = r.fetched(resp)
			}
			return nil
		}),
		kgo.AdjustFetchOffsetsFn(func(_ context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			for _, at := range others {
				if _, asked := offsets[at.topic][at.partition]; asked {
					offsets[at.topic][at.partition] = kgo.NewOffset().AtStart()
				}
			}
			return offsets, nil
		}),
	}, r.d.common...)
	if r.instance != "" {
		opts = append(opts, kgo.InstanceID(r.instance))
	}
	life, quit := context.WithCancel(context.Background())
	client, err := kgo.NewClient(append(opts, kgo.WithContext(life))...)
	if err != nil {
		quit()
		return nil, nil, err
	}
	return client, quit, nil
}

func (r *receiver) current(c *kgo.Client) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.client == c
}

// each calls f for our partitions among parts.
func (r *receiver) each(parts map[string][]int32, f func(p *partition)) {
	for topic, numbers := range parts {
		for _, n := range numbers {
			if p := r.parts[place{topic, n}]; p != nil {
				f(p)
			}
		}
	}
}

// assigned is called before anything of the partitions is fetched.
func (r *receiver) assigned(_ *kgo.Client, parts map[string][]int32) {
	if len(parts) == 0 {
		return
	}
	r.barrier()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.each(parts, r.drop)
	for topic, numbers := range parts {
		for _, n := range numbers {
			r.add(place{topic, n})
		}
	}
}

func (r *receiver) add(at place) *partition {
	p := &partition{place: at, progress: newProgress(), revoked: make(chan struct{})}
	r.parts[at] = p
	return p
}

// barrier returns when what polls have returned until now is sorted out: records of a partition that was ours before
// would be taken for those of the partition that is ours again.
func (r *receiver) barrier() {
	r.mu.Lock()
	if !r.pumping {
		r.mu.Unlock()
		return
	}
	passed := make(chan struct{})
	r.barriers = append(r.barriers, passed)
	if r.endPoll != nil {
		r.endPoll()
	}
	r.mu.Unlock()
	signal(r.pumped)
	<-passed
}

// fetched is called with what was committed, between assigned and the first fetch, and returns the places of which that is
// about a topic that was deleted: the one that is there begins at its start. The client never receives from a partition of
// which it was told nothing.
func (r *receiver) fetched(resp *kmsg.OffsetFetchResponse) (others []place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			name := r.name(t.Topic, t.TopicID)
			for _, f := range t.Partitions {
				p := r.parts[place{name, f.Partition}]
				if p == nil || f.ErrorCode != 0 {
					continue
				}
				p.begun = true
				if p.next >= 0 {
					continue
				}
				p.skip = r.past[p.place]
				delete(r.past, p.place)
				if f.Offset < 0 {
					continue
				}
				var spans []span
				if f.Metadata != nil {
					var id [16]byte
					if spans, id = decodeSettled(f.Offset, *f.Metadata); r.another(name, id) {
						others = append(others, p.place)
						continue
					}
				}
				p.begin(f.Offset)
				p.skip = merge(p.skip, spans)
			}
		}
	}
	for _, p := range r.parts {
		if !p.begun {
			r.amiss = true
			signal(r.looks)
		}
	}
	return others
}

// another reports whether a commit is about a topic of this name that is not the one we receive from, as far as is known.
func (r *receiver) another(topic string, id [16]byte) bool {
	var none [16]byte
	ours := r.ids[topic]
	return id != none && ours != none && id != ours
}

// revoked waits for what is in hand of the partitions, commits and lets go of them. Other partitions go on meanwhile.
func (r *receiver) revoked(client *kgo.Client, parts map[string][]int32) {
	if len(parts) == 0 {
		return
	}
	r.mu.Lock()
	var mine []*partition
	r.each(parts, func(p *partition) {
		r.warn(p)
		mine = append(mine, p)
	})
	r.mu.Unlock()
	limit := time.NewTimer(r.d.cfg.RevokeWait)
	defer limit.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for r.busy(mine) {
		select {
		case <-tick.C:
			continue
		case <-r.life.Done():
		case <-limit.C:
		}
		break
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.life), commitTimeout)
	_ = r.commit(ctx, client, mine) // what is not committed is delivered again
	cancel()
	r.mu.Lock()
	for _, p := range mine {
		r.drop(p)
	}
	r.mu.Unlock()
	r.changed()
}

// busy reports whether anything is in hand that is worth waiting for.
func (r *receiver) busy(parts []*partition) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.parting && slices.ContainsFunc(parts, func(p *partition) bool { return p.inHand > 0 && !p.gone })
}

// warn closes revoked, and takes back what was not received yet.
func (r *receiver) warn(p *partition) {
	if p.leaving {
		return
	}
	p.leaving = true
	close(p.revoked)
	theirs := func(it *item) bool { return it.p == p }
	r.ready = slices.DeleteFunc(r.ready, theirs)
	r.held = slices.DeleteFunc(r.held, theirs)
	heap.Init(&r.held)
	r.rouse()
	if p.paused { // the client would go on pausing it when it is ours again
		p.paused = false
		r.client.ResumeFetchPartitions(map[string][]int32{p.topic: {p.partition}})
	}
}

// drop is for a partition that is not ours any more.
func (r *receiver) drop(p *partition) {
	r.warn(p)
	if p.gone {
		return
	}
	p.gone = true
	if p.version != p.committed && p.position() >= 0 {
		offset, beyond := p.state()
		r.past[p.place] = append([]span{{first: 0, end: offset}}, beyond...)
	}
	r.inHand -= p.inHand
	p.inHand = 0
	if r.parts[p.place] == p {
		delete(r.parts, p.place)
	}
}

// lost is called when the group went on without us: commits would be refused.
func (r *receiver) lost(_ *kgo.Client, parts map[string][]int32) {
	r.mu.Lock()
	r.each(parts, r.drop)
	r.mu.Unlock()
	r.changed()
}
