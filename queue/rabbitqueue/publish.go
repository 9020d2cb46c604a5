package rabbitqueue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// maxUnconfirmed bounds the bytes that are published and not confirmed, so that nothing that publishes ever waits for
	// the network itself: it waits here, where it can give up.
	maxUnconfirmed = 48 << 20
	// overhead is what a message takes beside its data.
	overhead = 1 << 10
	// publishers is how many channels publish. One is handled by one process of the broker.
	publishers = 2
)

// target is where messages go.
type target struct {
	topic, group string
	exchange     string
	key          string // the routing key; "" is the lane of the message's key
	header       string // added to each message if not ""
	value        any
}

var errUnrouted = fmt.Errorf("%w: nothing takes it", errMissing)

// errNoRoom is of a message that would have to wait for room.
var errNoRoom = errors.New("no room for more under way")

// send publishes messages on one channel, waits for the confirms of all, and returns nil if all are confirmed.
func (e *Engine) send(ctx context.Context, to target, messages []*driver.Message) []error {
	if len(messages) == 0 {
		return nil
	}
	p, err := e.publisher(ctx, to.topic)
	if err != nil {
		return all(messages, err)
	}
	b := batch{e: e, p: p, to: to, messages: messages, sent: make([]sending, 0, len(messages))}
	for i := range messages {
		err := b.publish(ctx, i)
		if err == nil {
			continue
		}
		b.fail(i, err)
		if ctx.Err() != nil || p.ch.IsClosed() {
			for rest := i + 1; rest < len(messages); rest++ {
				b.fail(rest, err)
			}
			break
		}
	}
	var late []sending
	for len(b.sent) > 0 {
		if b.confirm(ctx) {
			continue
		}
		s := b.sent[0]
		b.sent = b.sent[1:]
		b.fail(s.i, fmt.Errorf("%w: %w", errUnknown, ctx.Err()))
		late = append(late, s)
	}
	if len(late) > 0 {
		e.spawn(func() { p.settle(e.budget, late) })
	}
	return b.errs
}

// batch is what one call publishes. It is for one goroutine.
type batch struct {
	e        *Engine
	p        *publisher
	to       target
	messages []*driver.Message

	errs []error   // nil, or one for each message
	sent []sending // those that are under way, oldest first
}

func (b *batch) fail(i int, err error) {
	if b.errs == nil {
		b.errs = make([]error, len(b.messages))
	}
	b.errs[i] = err
}

// publish publishes one message. It waits for room only while nothing of this call is under way, and otherwise for its own
// confirms, whose room it gives back: several calls that wait for room and have some would wait for each other.
func (b *batch) publish(ctx context.Context, i int) error {
	for {
		s, err := b.p.publish(ctx, b.e.budget, b.to, b.messages[i], len(b.sent) == 0)
		switch {
		case err == nil:
			s.i = i
			b.sent = append(b.sent, s)
			return nil
		case !errors.Is(err, errNoRoom):
			return err
		case !b.confirm(ctx):
			return ctx.Err()
		}
	}
}

// confirm waits for what becomes of the oldest message that is under way, and notes it. false is the end of ctx.
func (b *batch) confirm(ctx context.Context) bool {
	s := b.sent[0]
	if !came(ctx, s.dc.Done()) {
		return false
	}
	b.sent = b.sent[1:]
	err := b.p.verdict(s)
	b.p.done(b.e.budget, s)
	if errors.Is(err, errUnrouted) && b.to.group == "" && !b.e.topology.known(b.to.topic) {
		err = nil // nobody wants it
	}
	if err != nil {
		if errors.Is(err, errMissing) {
			b.e.topology.doubt(b.to.topic)
		}
		b.fail(s.i, err)
	}
	return true
}

// came waits for a confirm, and reports whether it is there, also if ctx has ended meanwhile.
func came(ctx context.Context, confirm <-chan struct{}) bool {
	select {
	case <-confirm:
		return true
	case <-ctx.Done():
	}
	select {
	case <-confirm:
		return true
	default:
		return false
	}
}

// settle gives back what messages took whose caller did not wait. Each ends with its confirm or with the channel.
func (p *publisher) settle(b *budget, sent []sending) {
	for _, s := range sent {
		<-s.dc.Done()
		p.cameBack(s)
		p.done(b, s)
	}
}

func (p *publisher) done(b *budget, s sending) {
	b.give(s.size)
	p.room.give(1)
}

func all(messages []*driver.Message, err error) []error {
	errs := make([]error, len(messages))
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// publisher returns a channel of a live connection on which the topic is declared.
func (e *Engine) publisher(ctx context.Context, topic string) (*publisher, error) {
	conn, err := e.publish.get(ctx)
	if err != nil {
		return nil, err
	}
	if topic != "" {
		if err := e.declared(ctx, topic, conn); err != nil {
			return nil, err
		}
	}
	return e.pool.get(ctx, e, conn)
}

// pool has the channels that publish.
type pool struct {
	next  atomic.Uint32
	slots [publishers]slot
}

type slot struct {
	p atomic.Pointer[publisher]

	mu      sync.Mutex
	opening chan struct{} // not nil while a channel is being opened, closed at the end
	err     error         // of the last opening
}

func (p *pool) get(ctx context.Context, e *Engine, conn *connection) (*publisher, error) {
	s := &p.slots[p.next.Add(1)%publishers]
	usable := func() *publisher {
		if p := s.p.Load(); p != nil && p.conn == conn && !p.ch.IsClosed() {
			return p
		}
		return nil
	}
	if p := usable(); p != nil {
		return p, nil
	}
	s.mu.Lock()
	if p := usable(); p != nil {
		s.mu.Unlock()
		return p, nil
	}
	if s.opening == nil {
		opening := make(chan struct{})
		if !e.spawn(func() {
			p, err := openPublisher(conn)
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.err = explain(err); err == nil {
				s.p.Store(p)
			}
			close(opening)
			s.opening = nil
		}) {
			s.mu.Unlock()
			return nil, errClosed
		}
		s.opening = opening
	}
	opening := s.opening
	s.mu.Unlock()
	select {
	case <-opening:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if p := usable(); p != nil {
		return p, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return nil, errors.New("RabbitMQ: the channel was closed again at once")
	}
	return nil, s.err
}

// publisher is one channel that publishes. Safe for concurrent use.
type publisher struct {
	conn   *connection
	ch     *amqp.Channel
	closes chan *amqp.Error

	returns  chan amqp.Return
	room     *budget      // messages, so that all of them have room in returns
	cameback atomic.Int64 // how many are in returned

	mu       sync.Mutex
	returned map[string]int // messages that came back and were not asked about yet
	err      error          // why the channel was closed
}

// maxSent is how many messages a channel has under way. As many may come back, and the client waits when there is no room
// for them, which holds up the whole connection.
const maxSent = 4096

func openPublisher(conn *connection) (*publisher, error) {
	ch, err := conn.amqp.Channel()
	if err != nil {
		return nil, err
	}
	p := &publisher{
		conn: conn, ch: ch, returned: make(map[string]int),
		closes:  ch.NotifyClose(make(chan *amqp.Error, 1)),
		returns: ch.NotifyReturn(make(chan amqp.Return, maxSent)), room: newBudget(maxSent),
	}
	if err := ch.Confirm(false); err != nil {
		return nil, err
	}
	return p, nil
}

// sending is one message under way.
type sending struct {
	i    int
	dc   *amqp.DeferredConfirmation
	size int64
	data int // bytes

	exchange, key, id string // by which it comes back
}

// publish publishes a message when there is room for it. Without wait it does so at once or not at all: errNoRoom.
func (p *publisher) publish(ctx context.Context, b *budget, to target, m *driver.Message, wait bool) (sending, error) {
	if len(m.Data) > maxMessage {
		return sending{}, fmt.Errorf("%w: %d bytes, at most %d", driver.ErrTooLarge, len(m.Data), maxMessage)
	}
	if why := p.conn.blocked.Load(); why != nil {
		return sending{}, fmt.Errorf("%w: the broker takes no messages: %s", driver.ErrFull, *why)
	}
	size := int64(len(m.Data) + overhead)
	if err := p.reserve(ctx, b, size, wait); err != nil {
		return sending{}, err
	}
	msg := encode(m)
	if to.header != "" {
		msg.Headers[to.header] = to.value
	}
	key := to.key
	if key == "" {
		key = laneOf(m.Key)
	}
	dc, err := p.ch.PublishWithDeferredConfirm(to.exchange, key, true, false, msg)
	if err != nil {
		b.give(size)
		p.room.give(1)
		if errors.Is(err, amqp.ErrClosed) {
			err = p.reason()
		}
		return sending{}, explain(err)
	}
	return sending{dc: dc, size: size, data: len(m.Data), exchange: to.exchange, key: key, id: msg.MessageId}, nil
}

// reserve takes room for one message.
func (p *publisher) reserve(ctx context.Context, b *budget, size int64, wait bool) error {
	if wait {
		if err := p.room.take(ctx, 1); err != nil {
			return err
		}
		if err := b.take(ctx, size); err != nil {
			p.room.give(1)
			return err
		}
		return nil
	}
	if !p.room.tryTake(1) {
		return errNoRoom
	}
	if !b.tryTake(size) {
		p.room.give(1)
		return errNoRoom
	}
	return nil
}

func returnName(exchange, key, id string) string { return exchange + " " + key + " " + id }

// verdict says what became of a message that was confirmed, refused or lost with its channel.
func (p *publisher) verdict(s sending) error {
	if s.dc.Acked() {
		if p.cameBack(s) {
			return errUnrouted
		}
		return nil
	}
	if !p.ch.IsClosed() {
		return fmt.Errorf("%w: the broker did not take it: a limit of the queue, or a queue without a leader", driver.ErrFull)
	}
	err := p.reason()
	if errors.Is(err, driver.ErrTooLarge) && s.data <= largest(err) { // another one was
		return fmt.Errorf("%w: %s", errUnknown, "the broker closed the channel over a message that was too large")
	}
	if errors.Is(err, driver.ErrRefused) || errors.Is(err, driver.ErrTooLarge) || errors.Is(err, errMissing) || errors.Is(err, driver.ErrFull) {
		return err
	}
	return fmt.Errorf("%w: %w", errUnknown, err)
}

// reason is why the channel was closed.
func (p *publisher) reason() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	select {
	case e, ok := <-p.closes:
		if ok && e != nil {
			p.err = explain(e)
			return p.err
		}
	default:
	}
	return errors.New("channel closed")
}

// cameBack reports whether a message was returned: the broker returns what nothing takes, and then confirms it. The client
// has put every return into the channel before it tells of a confirm that came after.
func (p *publisher) cameBack(s sending) bool {
	if len(p.returns) == 0 && p.cameback.Load() == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for open := true; open; {
		var r amqp.Return
		select {
		case r, open = <-p.returns:
		default:
			open = false
		}
		if open {
			p.returned[returnName(r.Exchange, r.RoutingKey, r.MessageId)]++
			p.cameback.Add(1)
		}
	}
	name := returnName(s.exchange, s.key, s.id)
	if p.returned[name] == 0 {
		return false
	}
	p.cameback.Add(-1)
	if p.returned[name]--; p.returned[name] == 0 {
		delete(p.returned, name)
	}
	return true
}
