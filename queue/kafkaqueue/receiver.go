package kafkaqueue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// maxAhead is how many messages of a partition are received beyond the first that is not settled. A message that is
	// stuck for longer holds up its partition then.
	maxAhead = 100_000
	// maxHeld is how many messages that are not due are kept here; others stay at the broker.
	maxHeld = 4096
	// leaveWithin is what a broker has to take the last commit, and to be told that we leave, each.
	leaveWithin = 2 * time.Second
	// stopWithin is for how long a receiver that stopped keeps its partitions for what is in hand.
	stopWithin = 30 * time.Second
	fetchBytes = 8 << 20
)

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

// partition is one that is ours.
type partition struct {
	place
	progress
	skip    []span // settled already, by what the commit says
	revoked chan struct{}
	leaving bool // revoked is closed
	gone    bool // not ours any more
	paused  bool // is too far ahead
	begun   bool // the broker has said where it was left
	inHand  int

	version, committed uint64 // of progress
}

// state returns the first offset that is not settled, and what is settled beyond it: also what was by others and was not read
// yet.
func (p *partition) state() (offset int64, beyond []span) {
	offset, beyond = p.position(), p.settled(maxSpans)
	var unread []span
	for _, s := range p.skip {
		if s.first = max(s.first, p.next); s.first < s.end {
			unread = append(unread, s)
		}
	}
	for beyond = merge(beyond, unread); len(beyond) > 0 && beyond[0].first <= offset; beyond = beyond[1:] {
		offset = max(offset, beyond[0].end)
	}
	return offset, beyond
}

// item is a delivery, and its place.
type item struct {
	driver.Delivery
	p      *partition
	number uint64
	due    time.Time
	over   bool // is settled, or given back
}

// receiver implements driver.Receiver: one member of a consumer group.
type receiver struct {
	d        *Driver
	s        driver.Subscription
	group    string
	again    string
	claim    claim  // of the instance's name
	instance string // that name, "" when another has it; r.mu

	life context.Context // ends with Close
	end  context.CancelFunc
	work sync.WaitGroup

	wake, pumped, commits, idle, looks chan struct{} // each has room for one
	committing                         chan struct{} // a mutex that honours contexts

	mu       sync.Mutex
	client   *kgo.Client
	quit     context.CancelFunc  // that of client, without which closing it waits for a broker that is frozen
	ids      map[string][16]byte // of the topics, as client knows them
	parts    map[place]*partition
	past     map[place][]span // what we settled of partitions that were lost, before the broker was told
	ready    []*item
	held     held
	inHand   int
	trouble  error
	stopped  bool
	parting  bool // is leaving the group
	closed   bool
	left     chan struct{} // closed when Close is through
	endPoll  context.CancelFunc
	barriers []chan struct{}
	pumping  bool
	resting  bool      // again is paused, because too much of it is not due
	arrived  bool      // it has seen that partitions are given out since it took its place
	orphaned time.Time // since when some are nobody's
	amiss    bool      // client does not receive from all of our partitions, and never will
	renewed  time.Time // when that was last made good
	missing  []string  // topics that client rests from, because they are not there
	reader   reader
}

// Subscribe implements driver.Engine.
func (d *Driver) Subscribe(ctx context.Context, s driver.Subscription) (driver.Receiver, error) {
	r := &receiver{
		d: d, s: s, group: groupID(s.Topic, s.Group), again: againTopic(s.Topic, s.Group),
		wake: make(chan struct{}, 1), pumped: make(chan struct{}, 1), commits: make(chan struct{}, 1), idle: make(chan struct{}, 1),
		looks: make(chan struct{}, 1), committing: make(chan struct{}, 1),
		parts: make(map[place]*partition), past: make(map[place][]span), left: make(chan struct{}),
	}
	r.s.Window = max(1, s.Window)
	if err := d.ensureGroup(ctx, s.Topic, s.Group); err != nil {
		return nil, wrong(ctx, err, "subscribe to %s for %s", s.Topic, s.Group)
	}
	var err error
	if r.ids, err = d.ids(ctx, s.Topic, r.again); err != nil {
		return nil, wrong(ctx, err, "subscribe to %s for %s", s.Topic, s.Group)
	}
	r.claim = d.claim(r.group, s.Instance)
	r.instance = r.claim.instance
	r.life, r.end = context.WithCancel(context.WithoutCancel(ctx))
	r.mu.Lock()
	r.client, r.quit, err = r.join()
	r.pumping = err == nil
	r.mu.Unlock()
	if err != nil {
		r.end()
		d.mu.Lock()
		delete(d.claims, r.claim)
		d.mu.Unlock()
		return nil, fmt.Errorf("kafka: subscribe to %s for %s: %w", s.Topic, s.Group, err)
	}
	d.mu.Lock()
	closed := d.closed
	if !closed {
		d.receivers[r] = struct{}{}
	}
	d.mu.Unlock()
	r.work.Go(r.pump)
	r.work.Go(r.commitLoop)
	r.work.Go(r.watch)
	if closed {
		_ = r.Close()
		return nil, errClosed
	}
	return r, nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Receive implements driver.Receiver.
func (r *receiver) Receive(ctx context.Context, n int) ([]*driver.Delivery, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.mu.Lock()
		if r.stopped {
			r.mu.Unlock()
			return nil, driver.ErrStopped
		}
		soon := r.release(time.Now())
		if k := min(n, len(r.ready)); k > 0 {
			out := make([]*driver.Delivery, k)
			for i, it := range r.ready[:k] {
				out[i] = &it.Delivery
				it.p.inHand++
			}
			clear(r.ready[:k])
			r.ready = r.ready[k:]
			r.inHand += k
			r.mu.Unlock()
			return out, nil
		}
		err := r.trouble
		r.trouble = nil
		r.mu.Unlock()
		if err != nil {
			return nil, err
		}
		var due <-chan time.Time
		if soon > 0 {
			t := time.NewTimer(soon)
			defer t.Stop()
			due = t.C
		}
		select {
		case <-r.wake:
		case <-due:
		case <-ctx.Done():
		}
	}
}

func itemOf(d *driver.Delivery) *item {
	it, _ := d.Ref.(*item)
	return it
}

// Ack implements driver.Receiver. The commit follows within about 100 ms.
func (r *receiver) Ack(_ context.Context, ds []*driver.Delivery) error {
	r.mu.Lock()
	lost := 0
	for _, d := range ds {
		if it := itemOf(d); !r.settle(it) {
			lost++
		}
	}
	r.mu.Unlock()
	r.changed()
	if lost > 0 {
		return fmt.Errorf("kafka: %d of %d: %w", lost, len(ds), driver.ErrLost)
	}
	return nil
}

// settle reports whether the delivery was ours to settle. Twice is once.
func (r *receiver) settle(it *item) bool {
	if it.p.gone {
		return false
	}
	if it.over {
		return !it.given()
	}
	it.over = true
	it.p.settle(it.number)
	it.p.version++
	it.p.inHand--
	r.inHand--
	if it.p.paused && it.p.ahead() < maxAhead/2 {
		it.p.paused = false
		r.client.ResumeFetchPartitions(map[string][]int32{it.p.topic: {it.p.partition}})
	}
	return true
}

// given reports whether it was given back without being settled.
func (it *item) given() bool {
	i := int(it.number - it.p.base) //nolint:gosec // a number that track gave out
	return it.number >= it.p.base && i < len(it.p.entries) && !it.p.entries[i].settled
}

// changed tells everybody who waits for deliveries to be over.
func (r *receiver) changed() {
	signal(r.commits)
	signal(r.pumped)
	signal(r.wake)
	signal(r.idle)
}

// Return implements driver.Receiver: by publishing it again, to this group alone. A partition that is on its way to
// somebody else has it anyway.
func (r *receiver) Return(ctx context.Context, d *driver.Delivery, after time.Duration) error {
	it := itemOf(d)
	r.mu.Lock()
	switch {
	case it.over && !it.p.gone:
		r.mu.Unlock()
		return nil
	case it.p.gone:
		r.mu.Unlock()
		return fmt.Errorf("kafka: %w", driver.ErrLost)
	case it.p.leaving || r.stopped:
		it.over = true
		it.p.inHand--
		r.inHand--
		r.mu.Unlock()
		r.changed()
		return nil
	}
	r.mu.Unlock()
	errs := r.d.sendTo(ctx, r.s.Topic, r.s.Group, []*driver.Message{d.Message}, dueAt(after))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return r.Ack(ctx, []*driver.Delivery{d})
}

// Extend implements driver.Receiver. Kafka measures whether the instance is there, not how long it takes.
func (r *receiver) Extend(_ context.Context, ds []*driver.Delivery) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range ds {
		if itemOf(d).p.gone {
			return fmt.Errorf("kafka: %w", driver.ErrLost)
		}
	}
	return nil
}

// Stop implements driver.Receiver. The partitions go to others when nothing is in hand any more.
func (r *receiver) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return
	}
	r.stopped = true
	r.ready, r.held = nil, nil
	if r.endPoll != nil {
		r.endPoll()
	}
	r.work.Go(r.leaveWhenIdle)
	r.changed()
}

func (r *receiver) leaveWhenIdle() {
	limit := time.NewTimer(stopWithin)
	defer limit.Stop()
	for {
		r.mu.Lock()
		n := r.inHand
		r.mu.Unlock()
		if n == 0 {
			break
		}
		select {
		case <-r.idle:
			continue
		case <-r.life.Done():
		case <-limit.C:
		}
		break
	}
	r.leave()
}

// leave commits and leaves the group. It is idempotent.
func (r *receiver) leave() {
	r.mu.Lock()
	client := r.client
	r.parting = true
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.life), leaveWithin)
	_ = r.commit(ctx, client, nil) // what is not committed is delivered again
	cancel()
	ctx, cancel = context.WithTimeout(context.WithoutCancel(r.life), leaveWithin)
	r.part(ctx, client)
	cancel()
	r.mu.Lock()
	for _, p := range r.parts {
		r.drop(p)
	}
	r.mu.Unlock()
	r.changed()
}

// Close implements driver.Receiver.
func (r *receiver) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		<-r.left
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	r.Stop()
	r.end()
	r.work.Wait() // among it leave
	r.mu.Lock()
	client, quit := r.client, r.quit
	r.mu.Unlock()
	quit()
	client.Close()
	r.d.mu.Lock()
	delete(r.d.receivers, r)
	delete(r.d.claims, r.claim)
	r.d.mu.Unlock()
	close(r.left)
	return nil
}

// session is for how long the group waits for us.
func (r *receiver) session() time.Duration {
	return cmp.Or(r.d.cfg.Session, min(max(r.s.Hold, minSession), maxSession))
}
