package rabbitqueue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	balanceEvery = time.Second
	patience     = 8 * time.Second // how long a lane that is given away may have something in hand
	strayEvery   = 15              // times balanceEvery
	againBase    = 100 * time.Millisecond
	againMax     = 5 * time.Second
	leaveTimeout = 2 * time.Second
	// keptMax is how long what cannot wait at the broker is kept here: less than its consumer_timeout, half an hour, of which a
	// handler may have taken some.
	keptMax = 5 * time.Minute
)

// receiver implements driver.Receiver: one consumer of a group's queue, or one of each lane.
type receiver struct {
	e      *Engine
	sub    driver.Subscription
	window int

	ctx    context.Context // until Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	ready   []*driver.Delivery // not yet returned by Receive
	handed  int                // returned by Receive, and neither settled nor lost
	err     error              // what is wrong, not yet told
	changed chan struct{}      // closed when one of these changes, or stopped
	stopped bool
	live    map[*session]struct{}

	preparing sync.Mutex  // before mu: one of the consumers looks after the group
	enrolled  *connection // this instance is counted on it; guarded by preparing
	prepared  *connection // on which the group was made sure of, and the old queue of a laned one had nothing left
}

// ref is the driver's own of a delivery.
type ref struct {
	s   *session
	tag uint64
}

func newReceiver(e *Engine, s driver.Subscription) *receiver {
	r := &receiver{e: e, sub: s, window: max(s.Window, 1), changed: make(chan struct{}), live: make(map[*session]struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// spawn runs f beside, and has Close wait for it, for a while.
func (r *receiver) spawn(f func()) {
	r.wg.Add(1)
	if !r.e.spawn(func() { defer r.wg.Done(); f() }) {
		r.wg.Done()
	}
}

// start makes sure of the group and begins to consume.
func (r *receiver) start(ctx context.Context) error {
	laned, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	if laned {
		r.startLanes()
		return nil
	}
	r.spawn(func() {
		if err := r.consume(newConsumer(r, r.e.names.group(r.sub.Topic, r.sub.Group), noLane, r.window)); errors.Is(err, errLaned) {
			r.startLanes()
		}
	})
	return nil
}

// errLaned ends the consumer of the old queue when somebody has subscribed in order meanwhile.
var errLaned = errors.New("the group is ordered now")

func (r *receiver) startLanes() {
	for i := range lanes {
		c := newConsumer(r, r.e.names.lane(r.sub.Topic, r.sub.Group, i), i, max(ahead, r.window)/lanes)
		r.spawn(func() { _ = r.consume(c) }) // it has told what was wrong
	}
	r.spawn(r.balance)
}

// prepare makes sure of the group, and of its lanes if it is to have them, and reports whether it has.
func (r *receiver) prepare(ctx context.Context) (laned bool, err error) {
	if err := r.e.declare(ctx, r.sub.Topic); err != nil {
		return false, err
	}
	ordered := r.sub.Ordered
	answer := make(chan bool, 1)
	err = r.e.ask(ctx, func(ctx context.Context, a *asker) error {
		laned, err := a.laned(r.sub.Topic, r.sub.Group)
		if err != nil {
			return err
		}
		answer <- laned || ordered
		if !laned && !ordered {
			return nil
		}
		return a.inOrder(ctx, r.sub.Topic, r.sub.Group, laned)
	})
	if err != nil {
		return false, err
	}
	return <-answer, nil
}

// Receive implements driver.Receiver.
func (r *receiver) Receive(ctx context.Context, n int) ([]*driver.Delivery, error) {
	for {
		r.mu.Lock()
		switch {
		case r.stopped:
			r.mu.Unlock()
			return nil, driver.ErrStopped
		case ctx.Err() != nil:
			r.mu.Unlock()
			return nil, ctx.Err()
		}
		if k := min(n, len(r.ready), r.window-r.handed); k > 0 {
			out := r.ready[:k:k]
			if r.ready = r.ready[k:]; len(r.ready) == 0 {
				r.ready = nil
			}
			r.handed += k
			for _, d := range out {
				of(d).s.handed++
			}
			r.mu.Unlock()
			return out, nil
		}
		if err := r.err; err != nil {
			r.err = nil
			r.mu.Unlock()
			return nil, err
		}
		changed := r.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func of(d *driver.Delivery) ref {
	f, _ := d.Ref.(ref) // of another receiver: the zero ref is settled
	return f
}

// wake wakes Receive. r.mu is held.
func (r *receiver) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// tell has Receive report what is wrong.
func (r *receiver) tell(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	r.wake()
}

// Ack implements driver.Receiver.
func (r *receiver) Ack(_ context.Context, ds []*driver.Delivery) error {
	var errs []error
	for s, tags := range bySession(ds) {
		if err := r.ack(s, tags); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func bySession(ds []*driver.Delivery) map[*session][]uint64 {
	out := make(map[*session][]uint64, 1)
	for _, d := range ds {
		f := of(d)
		out[f.s] = append(out[f.s], f.tag)
	}
	return out
}

var errLost = fmt.Errorf("RabbitMQ: %w: its channel was closed, or it is settled", driver.ErrLost)

func (r *receiver) ack(s *session, batch []uint64) error {
	if s == nil {
		return errLost
	}
	s.settling.Lock() // so that acknowledgements are sent in the order in which they were decided
	defer s.settling.Unlock()
	r.mu.Lock()
	if s.ended {
		r.mu.Unlock()
		return errLost
	}
	upTo, single, lost := s.tags.ack(batch)
	r.mu.Unlock()
	var err error
	if upTo != 0 {
		err = s.ch.Ack(upTo, true)
	}
	for _, tag := range single {
		if err == nil {
			err = s.ch.Ack(tag, false)
		}
	}
	r.mu.Lock() // only now: with its last one settled a session that leaves closes its channel, and what comes behind that is ignored
	if !s.ended {
		r.settled(s, len(batch)-lost)
	}
	r.mu.Unlock()
	if err != nil || lost > 0 {
		return errLost
	}
	return nil
}

// settled notes that deliveries are out of hand. r.mu is held.
func (r *receiver) settled(s *session, n int) {
	s.handed -= n
	r.handed -= n
	r.wake()
	if s.leaving && s.handed == 0 {
		s.leave()
	}
}

// Return implements driver.Receiver. What cannot wait at the broker waits here, among what is in hand, for keptMax at most; the
// error says why.
func (r *receiver) Return(ctx context.Context, d *driver.Delivery, after time.Duration) error {
	s := of(d).s
	if s == nil {
		return errLost
	}
	if after <= 0 {
		return r.nack(d)
	}
	if err := r.Extend(ctx, []*driver.Delivery{d}); err != nil {
		return err
	}
	if err := r.e.later(ctx, r.sub.Topic, r.sub.Group, d, delayFor(after)); err != nil {
		return errors.Join(fmt.Errorf("return after %v: %w", after, err), r.keep(d, min(after, keptMax)))
	}
	return r.ack(s, []uint64{of(d).tag})
}

// keep gives a delivery back after a while, or as soon as its session hands out nothing more.
func (r *receiver) keep(d *driver.Delivery, wait time.Duration) error {
	s := of(d).s
	select {
	case <-s.parting:
		return r.nack(d)
	default:
	}
	if !r.e.spawn(func() {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-s.parting:
		}
		_ = r.nack(d) // lost: it went back with the channel
	}) {
		return r.nack(d)
	}
	return nil
}

func (r *receiver) nack(d *driver.Delivery) error {
	f := of(d)
	f.s.settling.Lock()
	defer f.s.settling.Unlock()
	r.mu.Lock()
	if f.s.ended || !f.s.tags.open(f.tag) {
		r.mu.Unlock()
		return errLost
	}
	if f.s.leaving && f.s.c.lane != noLane { // it goes back with the channel, in its order
		r.settled(f.s, 1)
		r.mu.Unlock()
		return nil
	}
	f.s.tags.settle(f.tag)
	r.mu.Unlock()
	err := f.s.ch.Nack(f.tag, false, true)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !f.s.ended {
		r.settled(f.s, 1)
	}
	if err != nil {
		return errLost
	}
	return nil
}

// later publishes a delivery to the queue of what waits for that long.
func (e *Engine) later(ctx context.Context, topic, group string, d *driver.Delivery, wait time.Duration) error {
	key := delayKey{topic, group, wait}
	conn, err := e.publish.get(ctx)
	if err != nil {
		return err
	}
	if on, ok := e.waits.Load(key); !ok || on != conn {
		if err := e.delay(ctx, topic, group, wait); err != nil {
			return err
		}
		e.waits.Store(key, conn)
	}
	// By way of the exchange of the group's delays, and not straight to the queue: the routing key has to stay the lane.
	errs := e.send(ctx, target{
		topic: topic, group: group, exchange: e.names.delay(topic, group, wait), header: headerCount, value: int32(min(d.Count, 1<<30)), //nolint:gosec // bounded
	}, []*driver.Message{d.Message})
	if errs == nil {
		return nil
	}
	if errors.Is(errs[0], errMissing) {
		e.waits.Delete(key)
	}
	return errs[0]
}

type delayKey struct {
	topic, group string
	wait         time.Duration
}

// delayed returns the queues of what waits that this process has used.
func (e *Engine) delayed(topic, group string) []string {
	var out []string
	for _, d := range delays {
		if _, ok := e.waits.Load(delayKey{topic, group, d}); ok {
			out = append(out, e.names.delay(topic, group, d))
		}
	}
	return out
}

// Extend implements driver.Receiver. RabbitMQ measures no time of a delivery but its consumer_timeout, which is half an hour
// and cannot be extended: what is held for longer is lost.
func (r *receiver) Extend(_ context.Context, ds []*driver.Delivery) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range ds {
		if f := of(d); f.s == nil || f.s.ended || !f.s.tags.open(f.tag) {
			return errLost
		}
	}
	return nil
}

func (r *receiver) unsettled() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int64(r.handed)
}

// Stop implements driver.Receiver.
func (r *receiver) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return
	}
	r.stopped = true
	for s := range r.live {
		s.hold()
	}
	r.wake()
}

// Close implements driver.Receiver.
func (r *receiver) Close() error {
	r.Stop()
	r.cancel()
	r.e.forget(r)
	gone := make(chan struct{})
	go func() { r.wg.Wait(); close(gone) }()
	t := time.NewTimer(leaveTimeout) // a frozen broker does not answer; the end of the connection ends the rest
	defer t.Stop()
	select {
	case <-gone:
	case <-t.C:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.live {
		r.end(s)
	}
	return nil
}

// consume keeps one consumer going until the receiver stops.
func (r *receiver) consume(c *consumer) error {
	wait := backoff.Backoff{Base: againBase, Max: againMax}
	for {
		begun := time.Now()
		err := c.session(r.ctx)
		r.mu.Lock()
		stopped := r.stopped
		r.mu.Unlock()
		if stopped || r.ctx.Err() != nil || errors.Is(err, errClosed) || errors.Is(err, errLaned) {
			return err
		}
		if err == nil { // it gave the lane away, and queues up again behind the others
			if !backoff.Pause(r.ctx, againBase) {
				return nil
			}
			continue
		}
		r.tell(fmt.Errorf("receive from %s: %w", c.queue, err))
		if time.Since(begun) > againMax {
			wait.Reset()
		}
		if !backoff.Pause(r.ctx, wait.Next()) {
			return nil
		}
	}
}

// deliver takes what the broker delivers to a session.
func (r *receiver) deliver(s *session, d *amqp.Delivery) {
	out := &driver.Delivery{
		Message: decode(d), Count: deliveries(d.Headers), Revoked: s.revoked, Ref: ref{s, d.DeliveryTag},
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.tags.add(d.DeliveryTag)
	s.busy = true
	if s.leaving || s.ended {
		s.unhanded = append(s.unhanded, d.DeliveryTag)
		return
	}
	r.ready = append(r.ready, out)
	if len(r.ready) == 1 {
		r.wake()
	}
}
