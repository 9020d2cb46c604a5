package natsqueue

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// deadMost and deadLeast bound for how long nothing may be heard of a member before its lanes are taken, which is
	// about its Hold. A member that does not hear itself gives up after three quarters of it.
	deadMost  = 5 * time.Second
	deadLeast = time.Second
	// giveUpWait is how long what was begun is waited for when a lane is to be given to another member.
	giveUpWait = 5 * time.Second
	// arrangeGap is the least time between two looks at who should have what.
	arrangeGap = 20 * time.Millisecond
	// maxHello bounds what is read of another member's message, and maxMembers how many are known.
	maxHello   = 4 << 10
	maxMembers = 1000
	// laneIdle is after which time the server forgets a consumer that nobody pulls from.
	laneIdle = 15 * time.Second
)

// ordered receives for a group that is ordered. The lanes of the topic are spread over the members of the group; only
// who has a lane reads it, and says at the server how far it is. Members tell each other every few hundred milliseconds
// what they have, in messages that are not kept: a lane of which nothing is heard is taken, on condition that its record
// is as it was.
type ordered struct {
	e    *Engine
	s    driver.Subscription
	id   string
	dead time.Duration
	wake chan struct{} // of Receive
	kick chan struct{} // of run
	sub  *nats.Subscription
	done chan struct{}

	mu      sync.Mutex
	t       *topic
	lanes   map[int]*lane
	unsure  map[int]bool // lanes it does not have whose records may name it
	members map[string]*member
	since   time.Time // since when it listens
	born    time.Time // never changes
	heard   time.Time // when it said what it heard of itself last
	changed chan struct{}
	problem error
	turn    int
	stopped bool
	closing bool
	cancel  context.CancelFunc
}

func (e *Engine) subscribeOrdered(ctx context.Context, s driver.Subscription) (*ordered, error) {
	t, err := e.topicOrMake(ctx, s.Topic)
	if err != nil {
		return nil, err
	}
	o := &ordered{
		e: e, s: s, id: s.Instance + "/" + rand.Text(), dead: max(deadLeast, min(s.Hold, deadMost)),
		wake: make(chan struct{}, 1), kick: make(chan struct{}, 1), done: make(chan struct{}), t: t,
		lanes: make(map[int]*lane), unsure: make(map[int]bool), members: make(map[string]*member), changed: make(chan struct{}),
		since: time.Now(), born: time.Now(), heard: time.Now(),
	}
	if err := o.become(ctx); err != nil {
		return nil, err
	}
	if o.sub, err = e.link.conn.Subscribe(e.names.members(s.Topic, s.Group), o.hear); err != nil {
		return nil, err
	}
	o.say(hello{ID: o.id, Asks: true})
	runCtx, cancel := context.WithCancel(context.Background())
	o.cancel = cancel
	go o.run(runCtx)
	return o, nil
}

// become makes the group one that is ordered, from where it was.
func (o *ordered) become(ctx context.Context) error {
	if err := o.e.makeLanes(ctx); err != nil {
		return err
	}
	records, err := o.e.readLanes(ctx, o.t, o.s.Group)
	if err != nil {
		return err
	}
	floor := uint64(0)
	stream, name := o.e.names.stream(o.s.Topic), o.e.names.consumer(o.s.Group)
	c, err := o.e.link.js.Consumer(ctx, stream, name)
	had := err == nil
	if !had && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return err // where the group is is not known
	}
	if had {
		floor = c.CachedInfo().AckFloor.Stream
	}
	var ws []laneWrite
	for n, r := range records {
		if r.revision == 0 {
			ws = append(ws, laneWrite{lane: n, record: record{Floor: floor, Taken: floor}})
		}
	}
	if len(ws) > 0 {
		_, errs := o.e.writeLanes(ctx, o.t, o.s.Group, ws)
		for _, err := range errs {
			if err != nil && !errors.Is(err, errLaneLost) { // another member was faster
				return err
			}
		}
	}
	if had {
		_ = o.e.link.js.DeleteConsumer(ctx, stream, name) // another member may have
	}
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run keeps the lanes until ctx ends.
func (o *ordered) run(ctx context.Context) {
	defer close(o.done)
	var wg sync.WaitGroup
	defer wg.Wait()
	// Each by itself: what run asks of the server may be answered late, or never.
	wg.Go(func() { every(ctx, o.dead/5, func(time.Time) { o.tell() }) })
	wg.Go(func() { every(ctx, o.dead/5, o.fence) })
	tick := time.NewTicker(o.dead / 5)
	defer tick.Stop()
	soon := time.NewTimer(time.Hour)
	defer soon.Stop()
	settled := time.Time{}
	for ctx.Err() == nil {
		o.commit(ctx)
		if wait := arrangeGap - time.Since(settled); wait > 0 {
			soon.Reset(wait)
		} else {
			err := o.arrange(ctx)
			settled = time.Now()
			o.mu.Lock()
			o.problem = err
			o.mu.Unlock()
			signal(o.wake)
		}
		select {
		case <-tick.C:
		case <-o.kick:
		case <-soon.C:
		case <-ctx.Done():
		}
	}
}

// every calls f after each d until ctx ends.
func every(ctx context.Context, d time.Duration, f func(time.Time)) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f(time.Now())
		case <-ctx.Done():
			return
		}
	}
}

// lose gives up a lane that is somebody else's, or may be.
func (o *ordered) lose(l *lane) {
	l.revoke()
	l.leaving = time.Now()
	delete(o.lanes, l.n)
	o.unsure[l.n] = true
	l.pull.stop(func(*nats.Msg) {})
	o.news()
}

// news wakes those who wait for something to be written.
func (o *ordered) news() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// arrange gives lanes up and takes others, as plan says, and makes sure that those it has are read.
func (o *ordered) arrange(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	if err := o.e.link.get(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // the link says so
		}
		return err
	}
	now := time.Now()
	o.mu.Lock()
	taken := make(map[int]bool)
	var others []int
	for id, m := range o.members {
		if now.Sub(m.seen) > o.dead {
			delete(o.members, id)
			continue
		}
		for _, n := range m.lanes {
			taken[n] = true
		}
		if !m.leaving {
			others = append(others, len(m.lanes))
		}
	}
	mine := 0
	for _, l := range o.lanes {
		if l.leaving.IsZero() {
			mine++
		}
	}
	give, take := plan(o.t.lanes, mine, others)
	if o.stopped {
		give, take = mine, 0
	}
	for _, n := range slices.Backward(slices.Sorted(func(yield func(int) bool) {
		for n := range o.lanes {
			if !yield(n) {
				return
			}
		}
	})) {
		if l := o.lanes[n]; give > 0 && l.leaving.IsZero() {
			give--
			l.leaving = now
			if !o.stopped { // the runner drains by itself
				l.revoke()
			}
			l.pull.stop(func(*nats.Msg) {})
		}
	}
	var free []int
	for n := range o.t.lanes {
		if take > 0 && !taken[n] && o.lanes[n] == nil {
			free = append(free, n)
		}
	}
	o.mu.Unlock()
	var errs []error
	errs = append(errs, o.release(ctx))
	if len(free) > 0 {
		errs = append(errs, o.take(ctx, free, take))
	}
	errs = append(errs, o.disown(ctx))
	return errors.Join(append(errs, o.attach(ctx))...)
}

// release gives up the lanes that nothing of is in hand any more.
func (o *ordered) release(ctx context.Context) error {
	o.mu.Lock()
	var ls []*lane
	var ws []laneWrite
	var versions []uint64
	for _, l := range o.lanes {
		if !l.leaving.IsZero() && (len(l.held) == 0 || !o.stopped && time.Since(l.leaving) > giveUpWait || o.closing) {
			clear(l.held)
			ls = append(ls, l)
			ws = append(ws, laneWrite{l.n, l.next(""), l.revision})
			versions = append(versions, l.version)
		}
	}
	o.mu.Unlock()
	if len(ws) == 0 {
		return nil
	}
	_, errs := o.e.writeLanes(ctx, o.t, o.s.Group, ws)
	o.mu.Lock()
	for i, l := range ls {
		switch {
		case errs[i] == nil:
			l.written = versions[i]
		case errors.Is(errs[i], errLaneLost):
			errs[i] = nil
		default: // the record may still name this member, and nobody else would take the lane: again
			continue
		}
		if o.lanes[l.n] == l {
			delete(o.lanes, l.n)
		}
	}
	o.news()
	o.mu.Unlock()
	o.tell()
	return errors.Join(errs...)
}

// take takes some of the lanes of which nothing is heard.
func (o *ordered) take(ctx context.Context, free []int, most int) error {
	records, err := o.e.readLanes(ctx, o.t, o.s.Group)
	if err != nil {
		return err
	}
	if !records.known() {
		return o.renew(ctx)
	}
	now := time.Now()
	var ws []laneWrite
	o.mu.Lock()
	for _, n := range free {
		r := records[n]
		if len(ws) == most {
			break
		}
		if m := o.members[r.Owner]; m != nil && now.Sub(m.seen) < o.dead {
			continue // has just taken it
		}
		if r.Owner != "" && r.Owner != o.id && now.Sub(o.since) < o.dead {
			continue // may be there
		}
		ws = append(ws, laneWrite{n, claim(r.record, o.id), r.revision})
	}
	o.mu.Unlock()
	if len(ws) == 0 {
		return nil
	}
	seqs, errs := o.e.writeLanes(ctx, o.t, o.s.Group, ws)
	o.mu.Lock()
	for i, w := range ws {
		if errs[i] == nil {
			l := takeLane(w.lane, w.record, seqs[i])
			l.pull = newPuller(o.e.link.conn, o.wake)
			l.pull.once = true
			o.lanes[w.lane] = l
		} else if errors.Is(errs[i], errLaneLost) {
			errs[i] = nil
			signal(o.kick)
		} else {
			o.unsure[w.lane] = true
		}
	}
	o.mu.Unlock()
	o.tell()
	return errors.Join(errs...)
}

// disown takes this member's name out of records of lanes that it does not have: because it lost them, or because it
// never heard that it had got them. Others do not take what belongs to a member they hear.
func (o *ordered) disown(ctx context.Context) error {
	o.mu.Lock()
	n := len(o.unsure)
	o.mu.Unlock()
	if n == 0 {
		return nil
	}
	records, err := o.e.readLanes(ctx, o.t, o.s.Group)
	if err != nil {
		return err
	}
	var ws []laneWrite
	o.mu.Lock()
	for n := range o.unsure {
		if o.lanes[n] != nil || n >= len(records) || records[n].Owner != o.id {
			delete(o.unsure, n)
			continue
		}
		rec := records[n].record
		rec.Owner = ""
		ws = append(ws, laneWrite{n, rec, records[n].revision})
	}
	o.mu.Unlock()
	if len(ws) == 0 {
		return nil
	}
	_, errs := o.e.writeLanes(ctx, o.t, o.s.Group, ws)
	o.mu.Lock()
	for i, w := range ws {
		if errs[i] == nil || errors.Is(errs[i], errLaneLost) {
			delete(o.unsure, w.lane)
			errs[i] = nil
		}
	}
	o.mu.Unlock()
	return errors.Join(errs...)
}

// renew is for an engine that has forgotten the group, or the topic.
func (o *ordered) renew(ctx context.Context) error {
	t, err := o.e.topicOrMake(ctx, o.s.Topic)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.t = t
	o.mu.Unlock()
	return o.become(ctx)
}

// Close implements driver.Receiver.
func (o *ordered) Close() error {
	o.mu.Lock()
	if o.closing {
		o.mu.Unlock()
		<-o.done
		return nil
	}
	o.stopped, o.closing = true, true
	o.mu.Unlock()
	o.cancel()
	<-o.done
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if o.e.link.conn.IsConnected() {
		o.commit(ctx)
		_ = o.arrange(ctx) // gives up what is left; or it is taken when nothing is heard
		o.say(hello{ID: o.id, Gone: true})
	}
	o.mu.Lock()
	for _, l := range o.lanes {
		o.lose(l)
	}
	o.mu.Unlock()
	_ = o.sub.Unsubscribe()
	signal(o.wake)
	o.e.left(o)
	return nil
}
