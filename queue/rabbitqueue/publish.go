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

// send publishes messages on one channel, waits for the confirms of all, and returns nil if all are confirmed.
func (e *Engine) send(ctx context.Context, to target, messages []*driver.Message) []error {
	if len(messages) == 0 {
		return nil
	}
	p, err := e.publisher(ctx, to.topic)
	if err != nil {
		return all(messages, err)
	}
	var errs []error
	fail := func(i int, err error) {
		if errs == nil {
			errs = make([]error, len(messages))
		}
		errs[i] = err
	}
	sent := make([]sending, 0, len(messages))
	for i, m := range messages {
		s, err := p.publish(ctx, e.budget, to, m)
		if err != nil {
			fail(i, err)
			if ctx.Err() != nil || p.ch.IsClosed() {
				for rest := i + 1; rest < len(messages); rest++ {
					fail(rest, err)
				}
				break
			}
			continue
		}
		s.i = i
		sent = append(sent, s)
	}
	for n, s := range sent {
		select {
		case <-s.dc.Done():
		case <-ctx.Done():
			for _, s := range sent[n:] {
				fail(s.i, fmt.Errorf("%w: %w", errUnknown, ctx.Err()))
			}
			e.spawn(func() { p.settle(e.budget, sent[n:]) })
			return errs
		}
		err := p.verdict(s)
		p.done(e.budget, s)
		if errors.Is(err, errUnrouted) && to.group == "" && !e.topology.known(to.topic) {
			err = nil // nobody wants it
		}
		if err != nil {
			if errors.Is(err, errMissing) {
				e.topology.doubt(to.topic)
			}
			fail(s.i, err)
		}
	}
	return errs
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

func (p *publisher) publish(ctx context.Context, b *budget, to target, m *driver.Message) (sending, error) {
	if len(m.Data) > maxMessage {
		return sending{}, fmt.Errorf("%w: %d bytes, at most %d", driver.ErrTooLarge, len(m.Data), maxMessage)
	}
	if why := p.conn.blocked.Load(); why != nil {
		return sending{}, fmt.Errorf("%w: the broker takes no messages: %s", driver.ErrFull, *why)
	}
	size := int64(len(m.Data) + overhead)
	if err := p.room.take(ctx, 1); err != nil {
		return sending{}, err
	}
	if err := b.take(ctx, size); err != nil {
		p.room.give(1)
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
