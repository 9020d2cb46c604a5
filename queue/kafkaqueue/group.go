package kafkaqueue

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// commitEvery is how far commits are behind what is settled, at most, while the broker is well.
	commitEvery   = 100 * time.Millisecond
	commitTimeout = 3 * time.Second
	// rebalanceTimeout is for how long a rebalance waits for an instance. It is longer than any RevokeWait that makes sense.
	rebalanceTimeout = time.Minute
	// watchEvery is how often it is seen whether the topics are still the same.
	watchEvery = 5 * time.Second
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
	opts := append([]kgo.Opt{
		kgo.ConsumerGroup(r.group), kgo.ConsumeTopics(r.s.Topic, r.again), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(session), kgo.HeartbeatInterval(min(session/4, 2*time.Second)), kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxWait(time.Second),
		kgo.OnPartitionsAssigned(mine(r.assigned)), kgo.OnPartitionsRevoked(mine(r.revoked)), kgo.OnPartitionsLost(mine(r.lost)),
		kgo.OnOffsetsFetched(func(_ context.Context, c *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
			if r.current(c) {
				r.fetched(resp)
			}
			return nil
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

// fetched is called with what was committed, between assigned and the first fetch.
func (r *receiver) fetched(resp *kmsg.OffsetFetchResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			name := r.name(t.Topic, t.TopicID)
			for _, f := range t.Partitions {
				p := r.parts[place{name, f.Partition}]
				if p == nil || f.ErrorCode != 0 || p.next >= 0 {
					continue
				}
				p.skip = r.past[p.place]
				delete(r.past, p.place)
				if f.Offset < 0 {
					continue
				}
				p.begin(f.Offset)
				if f.Metadata != nil {
					p.skip = merge(p.skip, decodeSettled(f.Offset, *f.Metadata))
				}
			}
		}
	}
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
	r.ready = slices.DeleteFunc(r.ready, func(it *item) bool { return it.p == p })
}

// drop is for a partition that is not ours any more.
func (r *receiver) drop(p *partition) {
	r.warn(p)
	if p.gone {
		return
	}
	p.gone = true
	if p.version != p.committed && p.position() >= 0 {
		r.past[p.place] = append([]span{{first: 0, end: p.position()}}, p.settled(maxSpans)...)
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

// version is the state of a partition that a commit has.
type version struct {
	p *partition
	n uint64
}

// commit tells the broker what is settled of our partitions, of parts alone unless that is nil. The member's generation is
// read before what is ours: if a rebalance comes between, or before the broker has it, the broker refuses all of it, and a
// partition that went to somebody else keeps what that one has committed.
func (r *receiver) commit(ctx context.Context, client *kgo.Client, parts []*partition) error {
	select {
	case r.committing <- struct{}{}: // one at a time: a later one must not be overtaken
		defer func() { <-r.committing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = r.group
	req.MemberID, req.Generation = client.GroupMetadata()
	told := r.fill(req, client, parts)
	if len(told) == 0 {
		return nil
	}
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	return r.filed(resp, told)
}

// fill adds what is new to a commit, and returns which version of it that is.
func (r *receiver) fill(req *kmsg.OffsetCommitRequest, client *kgo.Client, parts []*partition) map[place]version {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != client || req.MemberID == "" {
		return nil
	}
	if r.instance != "" {
		req.InstanceID = kmsg.StringPtr(r.instance)
	}
	told := make(map[place]version)
	topics := make(map[string]int)
	for at, p := range r.parts {
		if p.version == p.committed || p.position() < 0 || parts != nil && !slices.Contains(parts, p) {
			continue
		}
		i, ok := topics[at.topic]
		if !ok {
			i = len(req.Topics)
			topics[at.topic] = i
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic, t.TopicID = at.topic, r.ids[at.topic]
			req.Topics = append(req.Topics, t)
		}
		c := kmsg.NewOffsetCommitRequestTopicPartition()
		c.Partition, c.Offset, c.LeaderEpoch = at.partition, p.position(), -1
		c.Metadata = kmsg.StringPtr(encodeSettled(c.Offset, p.settled(maxSpans)))
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, c)
		told[at] = version{p, p.version}
	}
	return told
}

func (r *receiver) filed(resp *kmsg.OffsetCommitResponse, told map[place]version) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for _, t := range resp.Topics {
		name := r.name(t.Topic, t.TopicID)
		for _, c := range t.Partitions {
			at := place{name, c.Partition}
			if e := kerr.ErrorForCode(c.ErrorCode); e != nil {
				err = e
				continue
			}
			if v, ok := told[at]; ok {
				v.p.committed = max(v.p.committed, v.n)
			}
		}
	}
	return err
}

// name returns that of a topic of a response, which newer ones know by its ID alone.
func (r *receiver) name(name string, id [16]byte) string {
	if name == "" {
		for topic, known := range r.ids {
			if known == id {
				return topic
			}
		}
	}
	return name
}

// commitLoop commits in the background, one commit at a time.
func (r *receiver) commitLoop() {
	for {
		select {
		case <-r.commits:
		case <-r.life.Done():
			return
		}
		r.mu.Lock()
		client := r.client
		r.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.life), commitTimeout) // cut short, it could still overtake the next
		err := r.commit(ctx, client, nil)
		cancel()
		if err != nil {
			signal(r.commits) // later
		}
		pause := time.NewTimer(commitEvery)
		select {
		case <-pause.C:
		case <-r.life.Done():
			pause.Stop()
			return
		}
	}
}

// pump asks the broker for as much as there is room for.
func (r *receiver) pump() {
	defer func() {
		r.mu.Lock()
		r.pumping = false
		r.pass()
		r.mu.Unlock()
	}()
	for {
		r.mu.Lock()
		r.pass()
		room := r.s.Window - r.inHand - len(r.ready)
		if r.stopped || r.life.Err() != nil {
			r.mu.Unlock()
			return
		}
		if room <= 0 {
			r.mu.Unlock()
			select {
			case <-r.pumped:
			case <-r.life.Done():
			}
			continue
		}
		ctx, cancel := context.WithCancel(r.life)
		r.endPoll = cancel
		client := r.client
		r.mu.Unlock()
		fetches := client.PollRecords(ctx, room)
		ended := ctx.Err() != nil
		cancel()
		if !r.sort(client, fetches) && !ended {
			r.rest()
		}
	}
}

func (r *receiver) pass() {
	for _, b := range r.barriers {
		close(b)
	}
	r.barriers = nil
}

// rest is after a poll that brought nothing but errors.
func (r *receiver) rest() {
	t := time.NewTimer(100*time.Millisecond + rand.N(200*time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.pumped: // by a barrier, or by an ack: then it is once more at least
	case <-r.life.Done():
	}
}

// sort makes deliveries of records, and reports whether there were any, or no error.
func (r *receiver) sort(client *kgo.Client, fetches kgo.Fetches) bool {
	n := fetches.NumRecords()
	items := make([]item, 0, n)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != client {
		return true
	}
	now := time.Now()
	fetches.EachRecord(func(rec *kgo.Record) {
		items = r.take(items, rec, now)
	})
	if r.stopped {
		r.ready, r.held = nil, nil
	}
	if len(r.ready) > 0 || len(r.held) > 0 {
		signal(r.wake)
	}
	if n > 0 {
		return true
	}
	for _, f := range fetches.Errors() {
		switch {
		case errors.Is(f.Err, context.Canceled):
		case errors.Is(f.Err, kerr.FencedInstanceID):
			r.work.Go(func() { r.outdone(client) })
			return false
		case unknown(f.Err), kerr.IsRetriable(f.Err): // the client goes on by itself, or watch sees to it
			return false
		default:
			r.trouble = wrong(r.life, f.Err, "receive from %s for %s", r.s.Topic, r.s.Group)
			signal(r.wake)
			return false
		}
	}
	return true
}

// take makes a delivery of a record of a partition that is ours and was not settled before.
func (r *receiver) take(items []item, rec *kgo.Record, now time.Time) []item {
	at := place{rec.Topic, rec.Partition}
	p := r.parts[at]
	if p == nil || p.leaving {
		return items
	}
	number, ok := p.track(rec.Offset)
	if !ok { // the log was cut back: these are other messages than those before
		r.drop(p)
		delete(r.past, at)
		p = r.add(at)
		number, _ = p.track(rec.Offset)
	}
	for len(p.skip) > 0 && p.skip[0].end <= rec.Offset {
		p.skip = p.skip[1:]
	}
	if len(p.skip) > 0 && p.skip[0].first <= rec.Offset {
		p.settle(number)
		p.version++
		signal(r.commits)
		return items
	}
	if p.ahead() >= maxAhead && !p.paused {
		p.paused = true
		r.client.PauseFetchPartitions(map[string][]int32{at.topic: {at.partition}})
	}
	items = append(items, item{p: p, number: number})
	it := &items[len(items)-1]
	it.Delivery = driver.Delivery{Message: r.reader.message(rec), Stored: rec.Timestamp, Revoked: p.revoked, Ref: it}
	if rec.Topic == r.again {
		it.due = due(rec)
	}
	if it.due.After(now) {
		r.hold(it)
	} else {
		r.ready = append(r.ready, it)
	}
	return items
}
