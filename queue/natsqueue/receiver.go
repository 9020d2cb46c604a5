package natsqueue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-go/holdfast/queue/driver"
)

var (
	ackAck      = []byte("+ACK")
	ackProgress = []byte("+WPI")
	ackNak      = []byte("-NAK")
)

const (
	// settleTries is how often the server is told of what is settled, settleWait apart, before it counts as lost.
	settleTries = 3
	settleWait  = 2 * time.Second
)

// receiver receives for a group that is not ordered: every instance pulls from the same durable consumer.
type receiver struct {
	e    *Engine
	s    driver.Subscription
	wake chan struct{}
	pull *puller

	mu      sync.Mutex
	held    map[*driver.Delivery]string // where to settle them
	stream  time.Time                   // when that was made which gave them
	on      uint64                      // the connection on which that was seen, by its number
	stopped bool
	closed  bool
}

func (e *Engine) subscribe(ctx context.Context, s driver.Subscription) (*receiver, error) {
	r := &receiver{e: e, s: s, wake: make(chan struct{}, 1), held: make(map[*driver.Delivery]string)}
	r.pull = newPuller(e.link.conn, r.wake)
	r.on = e.link.conn.Stats().Reconnects
	t, err := e.topicOrMake(ctx, s.Topic)
	if err != nil {
		return nil, err
	}
	records, err := e.readLanes(ctx, t, s.Group)
	if err != nil {
		return nil, err
	}
	c, err := r.become(ctx, t, records)
	if err != nil {
		return nil, err
	}
	r.stream = t.created
	return r, r.pull.attach(e.names.stream(s.Topic), c.CachedInfo().Name)
}

// become makes the group one that is not ordered, from where it was.
func (r *receiver) become(ctx context.Context, t *topic, records laneRecords) (jetstream.Consumer, error) {
	e, s := r.e, r.s
	floor := uint64(0)
	if records.known() { // it was ordered, and goes on where all of its lanes are
		stream, err := e.link.js.Stream(ctx, e.names.stream(s.Topic))
		if err != nil {
			return nil, err
		}
		if floor, err = e.settledUpTo(ctx, t, s.Group, records, stream.CachedInfo().State.LastSeq); err != nil {
			return nil, err
		}
	}
	c, err := e.makeConsumer(ctx, t, s.Group, s.Hold, floor)
	if err != nil {
		return nil, err
	}
	return c, e.dropLanes(ctx, t, s.Group, records)
}

// heardOrdered reports whether a member of the ordered group is heard of in the time in which one that lives says
// something.
func (r *receiver) heardOrdered(ctx context.Context) (bool, error) {
	sub, err := r.e.link.conn.SubscribeSync(r.e.names.members(r.s.Topic, r.s.Group))
	if err != nil {
		return false, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	listen, cancel := context.WithTimeout(ctx, deadMost)
	defer cancel()
	for {
		m, err := sub.NextMsgWithContext(listen)
		switch {
		case err == nil:
			var h hello
			if len(m.Data) <= maxHello && json.Unmarshal(m.Data, &h) == nil && h.ID != "" && !h.Gone {
				return true, nil
			}
		case ctx.Err() == nil && listen.Err() != nil && r.e.link.conn.IsConnected():
			return false, nil
		default:
			return false, err
		}
	}
}

// topicOrMake is for those who subscribe before anybody has published.
func (e *Engine) topicOrMake(ctx context.Context, name string) (*topic, error) {
	e.forget(name) // what is known may be old
	t, err := e.topic(ctx, name)
	if errors.Is(err, errNoStream) {
		e.mu.Lock()
		told := e.told[name]
		e.mu.Unlock()
		told.Name = name
		return e.declare(ctx, told)
	}
	return t, err
}

// Receive implements driver.Receiver.
func (r *receiver) Receive(ctx context.Context, n int) ([]*driver.Delivery, error) {
	for {
		r.mu.Lock()
		stopped, held := r.stopped, len(r.held)
		r.mu.Unlock()
		if stopped {
			return nil, driver.ErrStopped
		}
		if ds := r.deliver(r.pull.take(n)); len(ds) > 0 {
			_, _ = r.pull.ask(r.s.Window-held-len(ds), r.s.Window) // what is wrong is found in time
			return ds, nil
		}
		if err := r.e.link.get(ctx); err != nil {
			return nil, err
		}
		more, err := r.pull.ask(r.s.Window-held, r.s.Window)
		if err != nil {
			if err := r.again(ctx, err); err != nil {
				return nil, err
			}
			continue
		}
		if err := waitFor(ctx, r.wake, more); err != nil {
			return nil, err
		}
	}
}

// waitFor returns when there is news, or after d, or with ctx's error.
func waitFor(ctx context.Context, wake <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-wake:
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// again makes sure of the consumer after something was wrong with it.
func (r *receiver) again(ctx context.Context, why error) error {
	t, err := r.e.topicOrMake(ctx, r.s.Topic)
	if err != nil {
		return fmt.Errorf("%w: %w", why, err)
	}
	r.of(t)
	records, err := r.e.readLanes(ctx, t, r.s.Group)
	if err != nil {
		return fmt.Errorf("%w: %w", why, translate(err))
	}
	if records.known() { // made it ordered while this one was there: an older version of this service, most likely
		heard, err := r.heardOrdered(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", why, translate(err))
		}
		if heard {
			return fmt.Errorf("%w: the group is ordered where others have subscribed", driver.ErrRefused)
		}
		if records, err = r.e.readLanes(ctx, t, r.s.Group); err != nil { // they may have gone on until they left
			return fmt.Errorf("%w: %w", why, translate(err))
		}
	}
	c, err := r.become(ctx, t, records)
	if err != nil {
		return fmt.Errorf("%w: %w", why, translate(err))
	}
	if errors.Is(why, errSilent) {
		return nil // it is there; what was asked for is asked for again
	}
	return r.pull.attach(r.e.names.stream(r.s.Topic), c.CachedInfo().Name)
}

// deliver makes deliveries of what came, but of what waited here for so long that somebody else may have it.
func (r *receiver) deliver(ms []pulled) []*driver.Delivery {
	if len(ms) == 0 {
		return nil
	}
	out := make([]*driver.Delivery, 0, len(ms))
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range ms {
		switch age := time.Since(p.at); {
		case age > r.s.Hold*9/10:
			continue
		case age > r.s.Hold/6: // its time begins when it is handed out
			_ = r.e.link.conn.Publish(p.msg.Reply, ackProgress)
		}
		d := &driver.Delivery{Message: decode(p.msg.Header, p.msg.Data)}
		if meta, err := p.msg.Metadata(); err == nil {
			d.Count, d.Stored = int(meta.NumDelivered), meta.Timestamp //nolint:gosec // small
		}
		r.held[d] = p.msg.Reply
		out = append(out, d)
	}
	return out
}

// release takes deliveries out of hand and returns where to settle them; "" for one that is not in hand.
func (r *receiver) release(ds []*driver.Delivery) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]string, len(ds))
	for i, d := range ds {
		out[i] = r.held[d]
		delete(r.held, d)
	}
	return out
}

// sure makes sure after each connection that was lost that the stream is the one that gave what is in hand. Another one of
// its name counts from 1 again, and would take what is said of a message of that one for one of its own.
func (r *receiver) sure(ctx context.Context) error {
	if err := r.e.link.get(ctx); err != nil {
		return err
	}
	on := r.e.link.conn.Stats().Reconnects
	r.mu.Lock()
	seen := r.on == on
	r.mu.Unlock()
	if seen {
		return nil
	}
	r.e.forget(r.s.Topic)
	t, err := r.e.topic(ctx, r.s.Topic)
	if err != nil && !errors.Is(err, errNoStream) {
		return err
	}
	if err != nil {
		t = &topic{} // nothing is of it
	}
	r.of(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.on = on
	}
	return nil
}

// of drops what is in hand if it is of another stream than t's.
func (r *receiver) of(t *topic) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !t.created.Equal(r.stream) {
		clear(r.held)
		r.pull.forget()
		r.stream = t.created
	}
}

// tell settles deliveries.
func (r *receiver) tell(ctx context.Context, ds []*driver.Delivery, what []byte) error {
	err := r.sure(ctx)
	replies := r.release(ds)
	if err != nil {
		return errors.Join(driver.ErrLost, err)
	}
	return r.e.settle(ctx, replies, what)
}

// Ack implements driver.Receiver. It returns when the consumer's leader has noted them.
func (r *receiver) Ack(ctx context.Context, ds []*driver.Delivery) error {
	err := r.tell(ctx, ds, ackAck)
	r.signal()
	return err
}

func (r *receiver) signal() { signal(r.wake) }

// settle tells the server something about deliveries and waits until it has heard it.
func (e *Engine) settle(ctx context.Context, replies []string, what []byte) error {
	if err := e.link.get(ctx); err != nil {
		return errors.Join(driver.ErrLost, err)
	}
	c := e.link.replies.open(settleTries * len(replies))
	defer c.close()
	open, left, lost := make([]bool, len(replies)), 0, 0
	post := func() {
		for i, reply := range replies {
			if open[i] { // an error is found by waiting
				_ = e.link.conn.PublishMsg(&nats.Msg{Subject: reply, Reply: c.reply(i), Data: what})
			}
		}
	}
	for i, reply := range replies {
		if open[i] = reply != ""; open[i] {
			left++
		} else {
			lost++
		}
	}
	post()
	again := time.NewTicker(settleWait)
	defer again.Stop()
	for tries := 1; left > 0; {
		select {
		case a := <-c.answers:
			if a.i >= 0 && a.i < len(open) && open[a.i] && !noResponders(a.msg) {
				open[a.i] = false
				left--
			}
		case <-again.C:
			if tries++; tries > settleTries {
				return fmt.Errorf("%w: %d of %d are not noted by the server", driver.ErrLost, left+lost, len(replies))
			}
			post()
		case <-ctx.Done():
			return errors.Join(driver.ErrLost, context.Cause(ctx))
		}
	}
	if lost > 0 {
		return fmt.Errorf("%w: %d of %d are not in hand", driver.ErrLost, lost, len(replies))
	}
	return nil
}

// nak is what returns a delivery.
func nak(after time.Duration) []byte {
	if after <= 0 {
		return ackNak
	}
	return []byte(`-NAK {"delay": ` + strconv.FormatInt(after.Nanoseconds(), 10) + `}`)
}

// Return implements driver.Receiver.
func (r *receiver) Return(ctx context.Context, d *driver.Delivery, after time.Duration) error {
	err := r.tell(ctx, []*driver.Delivery{d}, nak(after))
	r.signal()
	return err
}

// Extend implements driver.Receiver.
func (r *receiver) Extend(ctx context.Context, ds []*driver.Delivery) error {
	if err := r.e.link.get(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	var replies []string
	lost := false
	for _, d := range ds {
		reply, ok := r.held[d]
		if !ok {
			lost = true
			continue
		}
		replies = append(replies, reply)
	}
	r.mu.Unlock()
	for _, reply := range replies {
		if err := r.e.link.conn.Publish(reply, ackProgress); err != nil {
			return err
		}
	}
	r.pull.renew()
	if lost {
		return driver.ErrLost
	}
	return nil
}

// Stop implements driver.Receiver.
func (r *receiver) Stop() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.pull.stop(func(m *nats.Msg) { _ = r.e.link.conn.Publish(m.Reply, ackNak) })
}

// Close implements driver.Receiver.
func (r *receiver) Close() error {
	r.Stop()
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	var replies []string
	for _, reply := range r.held {
		replies = append(replies, reply)
	}
	clear(r.held)
	r.mu.Unlock()
	for _, reply := range replies {
		_ = r.e.link.conn.Publish(reply, ackNak)
	}
	if len(replies) > 0 && r.e.link.conn.IsConnected() {
		_ = r.e.link.conn.FlushTimeout(time.Second)
	}
	r.e.left(r)
	return nil
}
