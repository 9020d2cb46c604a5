package rabbitqueue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// told is a channel that keeps what the broker is told.
type told struct {
	mu         sync.Mutex
	log        []string
	closed     bool
	deliveries chan amqp.Delivery
	onAck      func() // if not nil, called before an acknowledgement is on its way
	answers    func() // if not nil, called before a request is answered
	asked      int    // requests without an answer
}

// request waits for the broker's answer. Whose answer it is the client library does not look at, so there may be one at a time.
func (c *told) request(what string) error {
	if err := c.say("%s", what); err != nil {
		return err
	}
	c.mu.Lock()
	if c.asked++; c.asked > 1 {
		c.log = append(c.log, "before the answer to another")
	}
	c.mu.Unlock()
	if c.answers != nil {
		c.answers()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked--
	return nil
}

func (c *told) say(format string, args ...any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return amqp.ErrClosed
	}
	c.log = append(c.log, fmt.Sprintf(format, args...))
	return nil
}

func (c *told) Ack(tag uint64, multiple bool) error {
	if c.onAck != nil {
		c.onAck()
	}
	if multiple {
		return c.say("ack to %d", tag)
	}
	return c.say("ack %d", tag)
}

func (c *told) Nack(tag uint64, _, _ bool) error { return c.say("nack %d", tag) }

func (c *told) Cancel(string, bool) error {
	err := c.request("cancel")
	close(c.deliveries)
	return err
}

func (c *told) Close() error {
	err := c.request("close")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return err
}

func (c *told) IsClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// said returns what was said since, once everybody is idle. It is for a synctest bubble.
func (c *told) said() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.log
	c.log = nil
	return out
}

func (c *told) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := c.said(); !slices.Equal(got, want) {
		t.Errorf("the broker was told %q, want %q", got, want)
	}
}

// consuming is a receiver of window 10 with one session.
func consuming(lane int) (*receiver, *session, *told) {
	r := newReceiver(nil, driver.Subscription{Topic: "t", Group: "g", Window: 10})
	c := &told{deliveries: make(chan amqp.Delivery)}
	s := &session{
		c: newConsumer(r, "q", lane, 10), ch: c, closes: make(chan *amqp.Error, 1),
		revoked: make(chan struct{}), gone: make(chan struct{}), parting: make(chan struct{}), canceling: make(chan struct{}),
		requests: make(chan struct{}, 1),
	}
	r.live[s] = struct{}{}
	return r, s, c
}

// receiving runs one, in a bubble.
func receiving(t *testing.T, lane int, f func(t *testing.T, r *receiver, s *session, c *told)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, s, c := consuming(lane)
		pumped := make(chan struct{})
		go func() {
			defer close(pumped)
			_ = r.pump(r.ctx, s, c.deliveries)
			r.mu.Lock()
			r.end(s)
			r.mu.Unlock()
		}()
		f(t, r, s, c)
		r.cancel()
		<-pumped
	})
}

func (c *told) deliver(tags ...uint64) {
	for _, tag := range tags {
		c.deliveries <- amqp.Delivery{DeliveryTag: tag, MessageId: fmt.Sprint(tag)}
	}
	synctest.Wait()
}

func receive(t *testing.T, r *receiver, n int) []*driver.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	ds, err := r.Receive(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	return ds
}

func upTo(n uint64) (out []uint64) {
	for tag := uint64(1); tag <= n; tag++ {
		out = append(out, tag)
	}
	return out
}

func TestAcknowledgedTogether(t *testing.T) {
	receiving(t, noLane, func(t *testing.T, r *receiver, _ *session, c *told) {
		c.deliver(upTo(6)...)
		ds := receive(t, r, 10)
		if len(ds) != 6 || ds[0].Message.ID != "1" || ds[0].Count != 1 {
			t.Fatalf("received %d", len(ds))
		}
		for _, batch := range [][]*driver.Delivery{{ds[4]}, {ds[2], ds[0], ds[1]}, {ds[3]}, {ds[5]}} {
			if err := r.Ack(t.Context(), batch); err != nil {
				t.Error(err)
			}
		}
		c.expect(t, "ack 5", "ack to 3", "ack to 4", "ack to 6")
		if err := r.Ack(t.Context(), ds[:1]); !errors.Is(err, driver.ErrLost) {
			t.Errorf("settled twice: %v", err)
		}
		c.expect(t)
	})
}

// TestNoMoreThanTheWindow: of lanes, more may be here than may be handed out.
func TestNoMoreThanTheWindow(t *testing.T) {
	receiving(t, 0, func(t *testing.T, r *receiver, _ *session, c *told) {
		c.deliver(upTo(15)...)
		ds := receive(t, r, 100)
		if len(ds) != 10 {
			t.Fatalf("%d are handed out", len(ds))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if more, err := r.Receive(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d more, %v", len(more), err)
		}
		if err := r.Ack(t.Context(), ds[:2]); err != nil {
			t.Error(err)
		}
		if ds = receive(t, r, 100); len(ds) != 2 {
			t.Errorf("after two were settled, %d", len(ds))
		}
	})
}

// TestStopGivesBack: of a queue without order, what was not handed out goes back at once, and what was can be settled.
func TestStopGivesBack(t *testing.T) {
	receiving(t, noLane, func(t *testing.T, r *receiver, _ *session, c *told) {
		c.deliver(upTo(4)...)
		ds := receive(t, r, 2)
		r.Stop()
		c.expect(t, "cancel", "nack 3", "nack 4")
		if _, err := r.Receive(t.Context(), 1); !errors.Is(err, driver.ErrStopped) {
			t.Errorf("after Stop: %v", err)
		}
		if err := r.Ack(t.Context(), ds[1:]); err != nil {
			t.Error(err)
		}
		if err := r.Return(t.Context(), ds[0], 0); err != nil {
			t.Error(err)
		}
		c.expect(t, "ack 2", "nack 1", "close")
	})
}

// unreachable makes r one of an engine that reaches no broker to publish, and returns what waits for its goroutines.
func unreachable(r *receiver) (wait func()) {
	dial := func(context.Context) (*connection, error) { return nil, errors.New("no broker") }
	r.e = &Engine{publish: newLink(dial, slog.New(slog.DiscardHandler))}
	return func() {
		r.e.publish.close()
		r.e.wg.Wait()
	}
}

// TestWhatCannotWaitAtTheBrokerWaitsHere: what cannot be published to wait there is given back when its time has come, and counts
// as in hand until then.
func TestWhatCannotWaitAtTheBrokerWaitsHere(t *testing.T) {
	receiving(t, noLane, func(t *testing.T, r *receiver, _ *session, c *told) {
		wait := unreachable(r)
		defer wait()
		c.deliver(upTo(11)...)
		ds := receive(t, r, 11)
		for i, after := range []time.Duration{5 * time.Second, 24 * time.Hour} {
			if err := r.Return(t.Context(), ds[i], after); err == nil || errors.Is(err, driver.ErrLost) {
				t.Errorf("return after %v: %v", after, err)
			}
		}
		<-time.After(5*time.Second - 1)
		c.expect(t)
		if n := r.unsettled(); n != 10 {
			t.Errorf("%d are in hand, want 10", n)
		}
		if ds := receive(t, r, 11); ds[0].Message.ID != "11" { // the window has room again
			t.Errorf("received %s", ds[0].Message.ID)
		}
		c.expect(t, "nack 1")
		<-time.After(keptMax - 6*time.Second)
		c.expect(t)
		<-time.After(2 * time.Second)
		c.expect(t, "nack 2")
		if n := r.unsettled(); n != 9 {
			t.Errorf("%d are in hand, want 9", n)
		}
	})
}

// TestWhatWaitsHereHoldsUpNoStop: it goes back at once when the receiver stops, to its place in order with the channel.
func TestWhatWaitsHereHoldsUpNoStop(t *testing.T) {
	for name, test := range map[string]struct {
		lane       int
		stop, last []string
	}{
		"no lane": {noLane, []string{"cancel", "nack 2", "nack 3"}, []string{"ack to 1", "close"}},
		"lane":    {3, nil, []string{"ack to 1", "close"}},
	} {
		t.Run(name, func(t *testing.T) {
			receiving(t, test.lane, func(t *testing.T, r *receiver, _ *session, c *told) {
				wait := unreachable(r)
				begun := time.Now()
				c.deliver(upTo(3)...)
				ds := receive(t, r, 10)
				if err := r.Return(t.Context(), ds[1], time.Minute); err == nil {
					t.Error("it says that it was taken")
				}
				c.expect(t)
				r.Stop()
				if err := r.Return(t.Context(), ds[2], time.Minute); err == nil {
					t.Error("after Stop it says that it was taken")
				}
				if got := slices.Sorted(slices.Values(c.said())); !slices.Equal(got, test.stop) {
					t.Errorf("after Stop the broker was told %q, want %q", got, test.stop)
				}
				if err := r.Ack(t.Context(), ds[:1]); err != nil {
					t.Error(err)
				}
				c.expect(t, test.last...)
				wait()
				if d := time.Since(begun); d > 0 {
					t.Errorf("it took %v", d)
				}
			})
		})
	}
}

// TestWhatWaitsHereEndsWithItsChannel: there is nothing to give back any more.
func TestWhatWaitsHereEndsWithItsChannel(t *testing.T) {
	receiving(t, noLane, func(t *testing.T, r *receiver, s *session, c *told) {
		wait := unreachable(r)
		begun := time.Now()
		c.deliver(1)
		ds := receive(t, r, 1)
		if err := r.Return(t.Context(), ds[0], time.Minute); err == nil {
			t.Error("it says that it was taken")
		}
		s.closes <- &amqp.Error{Code: amqp.ConnectionForced, Server: true}
		wait()
		if d := time.Since(begun); d > 0 {
			t.Errorf("it took %v", d)
		}
		c.expect(t)
		if n := r.unsettled(); n != 0 {
			t.Errorf("%d in hand", n)
		}
	})
}

// TestStopKeepsOrder: of a lane nothing goes back before all that is in hand is settled, and then with the channel, which
// keeps its order.
func TestStopKeepsOrder(t *testing.T) {
	receiving(t, 3, func(t *testing.T, r *receiver, _ *session, c *told) {
		c.deliver(upTo(5)...)
		ds := receive(t, r, 3)
		r.Stop()
		c.expect(t)
		c.deliver(6) // was on its way
		if err := r.Return(t.Context(), ds[1], 0); err != nil {
			t.Error(err)
		}
		if err := r.Ack(t.Context(), ds[:1]); err != nil {
			t.Error(err)
		}
		c.expect(t, "ack to 1")
		if err := r.Ack(t.Context(), ds[2:]); err != nil {
			t.Error(err)
		}
		c.expect(t, "ack 3", "close")
	})
}

// TestOneRequestAtATime: the channel is closed when the broker has answered the cancel, and not while it does.
func TestOneRequestAtATime(t *testing.T) {
	receiving(t, noLane, func(t *testing.T, r *receiver, _ *session, c *told) {
		c.answers = func() { <-time.After(time.Second) }
		c.deliver(upTo(2)...)
		receive(t, r, 1)
		r.Stop()
		c.expect(t, "cancel")
		r.cancel()
		c.expect(t)
		<-time.After(2 * time.Second)
		c.expect(t, "close")
	})
}

// TestClosedWithoutAnAnswer: what a receiver had in hand is not its own any more when Close returns, whatever the broker does.
func TestClosedWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s, c := consuming(noLane)
		r.e = &Engine{}
		thawed := make(chan struct{})
		c.answers = func() { <-thawed }
		r.wg.Go(func() { _ = r.pump(r.ctx, s, c.deliveries) })
		c.deliver(upTo(2)...)
		ds := receive(t, r, 1)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if err := r.Ack(t.Context(), ds); !errors.Is(err, driver.ErrLost) {
			t.Errorf("acknowledged after the close: %v", err)
		}
		if n := r.unsettled(); n != 0 {
			t.Errorf("%d in hand after the close", n)
		}
		close(thawed)
		r.wg.Wait()
	})
}

// TestTheLastAckBeforeTheClose: a session that leaves closes its channel after its last acknowledgement is on its way; the broker
// ignores what comes behind the close.
func TestTheLastAckBeforeTheClose(t *testing.T) {
	for name, lane := range map[string]int{"no lane": noLane, "lane": 3} {
		t.Run(name, func(t *testing.T) {
			receiving(t, lane, func(t *testing.T, r *receiver, _ *session, c *told) {
				c.onAck = synctest.Wait // everybody else comes as far as they can
				c.deliver(1)
				ds := receive(t, r, 1)
				r.Stop()
				c.said()
				if err := r.Ack(t.Context(), ds); err != nil {
					t.Error(err)
				}
				c.expect(t, "ack to 1", "close")
			})
		})
	}
}

// TestFlushedAfterTheLastAck: an old queue is handled when what is settled was said to the broker, and not when it was decided.
func TestFlushedAfterTheLastAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s, c := consuming(drainLane)
		c.onAck = func() { <-time.After(4 * drainEvery) }
		r.deliver(s, &amqp.Delivery{DeliveryTag: 1})
		ds := receive(t, r, 1)
		var acking sync.WaitGroup
		acking.Go(func() {
			if err := r.Ack(t.Context(), ds); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		broken := make(chan error, 1)
		broken <- errEnded
		if _, err := r.flushed(t.Context(), s, broken); err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		if want := []string{"cancel", "ack to 1"}; !slices.Equal(c.log, want) {
			t.Errorf("when it was flushed the broker was told %q, want %q", c.log, want)
		}
		c.mu.Unlock()
		acking.Wait()
		r.cancel()
	})
}

// TestTheEndOfAChannel: what it delivered is revoked, cannot be settled, and does not count any more.
func TestTheEndOfAChannel(t *testing.T) {
	receiving(t, noLane, func(t *testing.T, r *receiver, s *session, c *told) {
		c.deliver(upTo(4)...)
		ds := receive(t, r, 2)
		s.closes <- &amqp.Error{Code: amqp.ConnectionForced, Server: true}
		<-ds[0].Revoked
		synctest.Wait()
		if err := r.Ack(t.Context(), ds); !errors.Is(err, driver.ErrLost) {
			t.Errorf("ack: %v", err)
		}
		for _, err := range []error{
			r.Return(t.Context(), ds[0], 0), r.Return(t.Context(), ds[0], time.Second), r.Extend(t.Context(), ds),
			r.Ack(t.Context(), []*driver.Delivery{{}}), r.Return(t.Context(), &driver.Delivery{}, 0),
		} {
			if !errors.Is(err, driver.ErrLost) {
				t.Errorf("got %v", err)
			}
		}
		if r.unsettled() != 0 || len(r.ready) != 0 {
			t.Errorf("%d in hand, %d ready", r.unsettled(), len(r.ready))
		}
		r.tell(errors.New("no connection"))
		if _, err := r.Receive(t.Context(), 1); err == nil || err.Error() != "no connection" {
			t.Errorf("what is wrong: %v", err)
		}
		c.expect(t)
	})
}
