package rabbitqueue

import (
	"context"
	"errors"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// consumer consumes from one queue, over one session after the other.
type consumer struct {
	r        *receiver
	queue    string
	lane     int // noLane or drainLane are of a queue that is none
	prefetch int
}

const (
	noLane    = -1
	drainLane = lanes // which keeps order, too
)

func newConsumer(r *receiver, queue string, lane, prefetch int) *consumer {
	return &consumer{r: r, queue: queue, lane: lane, prefetch: min(prefetch, reach)}
}

// channel is what a session does with an *amqp.Channel.
type channel interface {
	Ack(tag uint64, multiple bool) error
	Nack(tag uint64, multiple, requeue bool) error
	Cancel(consumer string, noWait bool) error
	IsClosed() bool
	Close() error
}

// session is one channel that consumes from one queue.
type session struct {
	c       *consumer
	ch      channel
	revoked chan struct{} // closed with the channel, or when its lane is to be given away
	gone    chan struct{} // closed by leave
	tag     string
	closes  chan *amqp.Error

	parting   chan struct{} // closed when it is leaving, or has ended
	canceling chan struct{} // closed when the broker is to deliver nothing more, of a queue without order

	requests chan struct{} // holds one request at a time: an answer goes to whoever waits, also to who asked something else
	settling sync.Mutex    // before receiver.mu: sends what was decided in that order

	// These are guarded by receiver.mu.
	tags     tags
	handed   int  // of its deliveries, returned by Receive and not settled, as far as the broker was told
	busy     bool // something was delivered
	leaving  bool // nothing is handed out any more, and when handed is 0 the channel is closed
	left     bool
	ended    bool
	moving   time.Time // since when its lane is to be given away
	unhanded []uint64  // delivered and not handed out, when leaving
	revoke   sync.Once
}

// session consumes until the channel ends; nil says that it was given up by us.
func (c *consumer) session(ctx context.Context) error {
	r := c.r
	conn, err := r.e.consume.await(ctx, r.tell)
	if err != nil {
		return err
	}
	if err := c.prepare(ctx, conn); err != nil {
		return err
	}
	s, deliveries, err := c.open(conn)
	if err != nil {
		err = explain(err)
		if errors.Is(err, errMissing) {
			r.lost(conn)
		}
		return err
	}
	r.mu.Lock()
	if r.stopped {
		s.hold()
	}
	r.live[s] = struct{}{}
	r.mu.Unlock()

	err = r.pump(ctx, s, deliveries)

	r.mu.Lock()
	left := s.left
	r.end(s)
	r.mu.Unlock()
	s.closeNow()
	switch {
	case left:
		err = nil
	case errors.Is(err, errMissing), errors.Is(err, errEnded): // its queue was deleted, or has no leader now
		r.lost(conn)
	}
	return err
}

// pump takes deliveries until the channel ends, or is to be left, and returns why it ended.
func (r *receiver) pump(ctx context.Context, s *session, deliveries <-chan amqp.Delivery) error {
	canceling := s.canceling
	var asking sync.WaitGroup
	defer asking.Wait()
	for {
		select {
		case d, ok := <-deliveries:
			if ok {
				r.deliver(s, &d)
				continue
			}
			if canceling != nil || s.ch.IsClosed() {
				return s.why()
			}
			deliveries = nil // we have canceled, and nothing comes any more
			r.giveBack(s)
		case <-canceling:
			canceling = nil
			asking.Go(func() { _ = s.cancel() }) // its answer is the end of the deliveries
		case e := <-s.closes:
			if e != nil {
				return explain(e)
			}
			return errEnded
		case <-s.gone:
			s.closeNow()
			return nil
		case <-ctx.Done():
			s.closeNow()
			return ctx.Err()
		}
	}
}

var errEnded = errors.New("the broker ended the consumer")

// why is why the channel ended.
func (s *session) why() error {
	select {
	case e := <-s.closes:
		if e != nil {
			return explain(e)
		}
	default:
	}
	return errEnded
}

// closeNow closes the channel, and what it has in hand goes back.
func (s *session) closeNow() {
	s.requests <- struct{}{}
	defer func() { <-s.requests }()
	_ = s.ch.Close()
}

// cancel has the broker deliver nothing more: after its answer the deliveries end.
func (s *session) cancel() error {
	s.requests <- struct{}{}
	defer func() { <-s.requests }()
	return s.ch.Cancel(s.tag, false)
}

// giveBack returns what was not handed out to the queue.
func (r *receiver) giveBack(s *session) {
	s.settling.Lock()
	defer s.settling.Unlock()
	r.mu.Lock()
	tags := s.unhanded
	s.unhanded = nil
	for _, tag := range tags {
		s.tags.settle(tag)
	}
	r.mu.Unlock()
	for _, tag := range tags {
		_ = s.ch.Nack(tag, false, true) // or it goes back with the channel
	}
}

func (c *consumer) open(conn *connection) (*session, <-chan amqp.Delivery, error) {
	ch, err := conn.amqp.Channel()
	if err != nil {
		return nil, nil, err
	}
	s := &session{
		c: c, ch: ch, tag: driver.Cut(c.r.sub.Instance, 200), closes: ch.NotifyClose(make(chan *amqp.Error, 1)),
		revoked: make(chan struct{}), gone: make(chan struct{}), parting: make(chan struct{}), canceling: make(chan struct{}),
		requests: make(chan struct{}, 1),
	}
	if s.tag == "" {
		s.tag = "holdfast" // unique within a channel is enough
	}
	if err := ch.Qos(c.prefetch, 0, false); err != nil {
		return nil, nil, err
	}
	deliveries, err := ch.Consume(c.queue, s.tag, false, false, false, false, nil)
	return s, deliveries, err
}

// hold hands out nothing more and leaves when all that was handed out is settled. Of a lane, what is here and was not
// handed out goes back with the channel then, in its order: if it went before, or if the consumer was canceled, the next one
// would begin before ours are done. Of other queues it goes back at once. receiver.mu is held.
func (s *session) hold() {
	if s.leaving || s.ended {
		return
	}
	s.leaving = true
	close(s.parting)
	s.c.r.discard(s)
	switch {
	case s.handed == 0:
		s.leave()
	case s.c.lane == noLane:
		close(s.canceling)
	}
}

// leave ends the session. receiver.mu is held.
func (s *session) leave() {
	if !s.left {
		s.left = true
		close(s.gone)
	}
}

// open reports whether something that was delivered is not settled, or the broker was not told of it yet. receiver.mu is held.
func (s *session) open() bool {
	return s.handed > 0 || s.tags.high >= s.tags.low && s.tags.high > 0
}

// discard drops what was not handed out of a session. r.mu is held.
func (r *receiver) discard(s *session) {
	keep := r.ready[:0:0]
	for _, d := range r.ready {
		if f := of(d); f.s != s {
			keep = append(keep, d)
		} else {
			s.unhanded = append(s.unhanded, f.tag)
		}
	}
	r.ready = keep
}

// end notes that a session has ended: what it delivered is not ours any more. r.mu is held.
func (r *receiver) end(s *session) {
	if s.ended {
		return
	}
	s.ended = true
	if !s.leaving {
		close(s.parting)
	}
	r.discard(s)
	r.handed -= s.handed
	s.handed = 0
	delete(r.live, s)
	s.revoke.Do(func() { close(s.revoked) })
	r.wake()
}

// lost makes the next session look for the group again.
func (r *receiver) lost(conn *connection) {
	r.e.topology.doubt(r.sub.Topic)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.prepared == conn {
		r.prepared = nil
	}
}

// prepare makes sure of the group, once per connection and after something was missing; and that the old queue of one with
// lanes was handled, so that these may begin. One consumer does it, the others wait for it.
func (c *consumer) prepare(ctx context.Context, conn *connection) error {
	r := c.r
	r.preparing.Lock()
	defer r.preparing.Unlock()
	r.mu.Lock()
	done := r.prepared == conn || r.stopped
	r.mu.Unlock()
	if done {
		return nil
	}
	laned, err := r.prepare(ctx)
	switch {
	case err != nil:
		return err
	case laned && c.lane == noLane:
		return errLaned
	case laned:
		if err := r.drain(ctx, conn); err != nil {
			return err
		}
		if r.enrolled != conn {
			r.enrolled = conn
			r.spawn(func() { r.enroll(conn) })
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prepared = conn
	return nil
}

// enroll counts this instance among those of the group, as long as the connection lives.
func (r *receiver) enroll(conn *connection) {
	for !conn.ended() && backoff.Pause(r.ctx, 0) {
		if ch, err := conn.amqp.Channel(); err == nil {
			r.member(ch)
			_ = ch.Close()
		}
		if !backoff.Pause(r.ctx, balanceEvery) {
			return
		}
	}
}

// member consumes what nobody publishes until the channel ends.
func (r *receiver) member(ch *amqp.Channel) {
	name := r.e.names.members(r.sub.Topic, r.sub.Group)
	if _, err := ch.QueueDeclare(name, true, true, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeClassic}); err != nil {
		return
	}
	none, err := ch.Consume(name, "member", true, false, false, false, nil)
	for ok := err == nil; ok; {
		select {
		case _, ok = <-none:
		case <-r.ctx.Done():
			return
		}
	}
}

// balance shares the lanes of a group: who has more than its part gives some away, to who waits for longest.
func (r *receiver) balance() {
	for tick := 1; backoff.Pause(r.ctx, backoff.Jitter(balanceEvery/2, balanceEvery*3/2)); tick++ {
		if tick%strayEvery == 0 {
			r.strays()
		}
		mine, stopped := r.mine()
		if stopped {
			return
		}
		if len(mine) < 2 {
			continue
		}
		ctx, cancel := context.WithTimeout(r.ctx, balanceEvery)
		answer := make(chan int, 1)
		members := r.e.names.members(r.sub.Topic, r.sub.Group)
		err := r.e.ask(ctx, func(_ context.Context, a *asker) error {
			q, _, err := a.queue(members)
			answer <- q.Consumers
			return err
		})
		cancel()
		if err != nil {
			continue
		}
		excess := len(mine) - share(<-answer)
		r.mu.Lock()
		for _, s := range mine[:max(0, excess)] {
			s.moving = time.Now()
			s.hold()
			s.revoke.Do(func() { close(s.revoked) })
		}
		r.mu.Unlock()
	}
}

// mine returns the lanes that this instance is given messages of. Those that are to be given away and still have something
// in hand after patience are left: that is delivered again.
func (r *receiver) mine() (mine []*session, stopped bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.live {
		switch {
		case s.c.lane >= 0 && s.c.lane < lanes && s.busy && !s.leaving:
			mine = append(mine, s)
		case s.leaving && !s.moving.IsZero() && time.Since(s.moving) > patience:
			s.leave()
		}
	}
	return mine, r.stopped
}

// share is how many lanes one of n instances has at most.
func share(n int) int { return (lanes + max(n, 1) - 1) / max(n, 1) }
