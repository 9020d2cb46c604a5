//go:build real && unix

package rabbitqueue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/internal/rabbittest"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// TestRealSmallMessagesOnly: a broker whose limit is lower than ours refuses one message, and those beside it get through.
func TestRealSmallMessagesOnly(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{Settings: "max_message_size = 1000\n"})
	e := open(t, b.Addr())
	declare(t, e, "t", "g")
	large := message("large", "")
	large.Data = make([]byte, 2000)
	errs := e.Publish(within(t, 10*time.Second), "t", []*driver.Message{message("1", ""), large, message("2", "")})
	if len(errs) != 3 || !errors.Is(errs[1], driver.ErrTooLarge) {
		t.Fatalf("got %v", errs)
	}
	for _, i := range []int{0, 2} {
		if errors.Is(errs[i], driver.ErrTooLarge) {
			t.Errorf("message %d: %v", i, errs[i])
		}
	}
	until(t, "the others", 10*time.Second, func(ctx context.Context) error {
		return publish(ctx, e, "t", message("1", ""), message("2", ""))
	})
}

// TestRealAForeignMessageTooLargeToBury: what is larger than we send is set aside without its end, and what is behind it goes on. So is
// what the broker does not take as a letter.
func TestRealAForeignMessageTooLargeToBury(t *testing.T) {
	t.Run("ours", func(t *testing.T) {
		const size = 60 << 20 // more than may be under way
		b := rabbittest.New(t, rabbittest.Config{})
		e := open(t, b.Addr())
		declare(t, e, "t", "g")
		raw(t, b, func(ch *amqp.Channel) {
			if err := ch.Confirm(false); err != nil {
				t.Fatal(err)
			}
			dc, err := ch.PublishWithDeferredConfirm("holdfast:t", "0", true, false, amqp.Publishing{
				DeliveryMode: amqp.Persistent, MessageId: "large", Headers: amqp.Table{"cloudEvents_x": "1"}, Body: make([]byte, size),
			})
			if err != nil {
				t.Fatal(err)
			}
			if !dc.Wait() {
				t.Fatal("not confirmed")
			}
		})
		if err := publish(within(t, 20*time.Second), e, "t", message("small", "")); err != nil {
			t.Fatal(err)
		}
		q := queue.New(e, queue.Config{Source: "test", Instance: "one"})
		handled := make(chan int, 10)
		sub, err := queue.NewSubscription(q, "t", "g", queue.Handle(func(_ context.Context, m queue.Message[[]byte]) error {
			handled <- len(m.Value)
			if len(m.Value) > 100 {
				return queue.Reject(errors.New("no"))
			}
			return nil
		}), queue.SubscriptionConfig{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := sub.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		defer running.Wait()
		defer cancel()
		until(t, "the letter is there, and nothing else", time.Minute, func(ctx context.Context) error {
			lag, err := e.Lag(ctx, "t", "g")
			if err == nil && lag != (driver.Lag{Dead: 1}) {
				err = fmt.Errorf("%+v", lag)
			}
			return err
		})
		letters, err := e.Dead(within(t, 20*time.Second), "t", "g", "", 10)
		if err != nil || len(letters) != 1 {
			t.Fatalf("%d letters, %v", len(letters), err)
		}
		m := letters[0].Message
		if len(m.Data) != 16<<20 || m.ID != "large" || m.Attributes["x"] != "1" || m.Attributes["holdfastcutfrom"] != strconv.Itoa(size) {
			t.Errorf("%s: %d bytes, %q", m.ID, len(m.Data), m.Attributes)
		}
		if sizes := []int{<-handled, <-handled}; !slices.Contains(sizes, size) || !slices.Contains(sizes, len("small")) || len(handled) > 0 {
			t.Errorf("handled were %v bytes, and %d more", sizes, len(handled))
		}
	})
	t.Run("the broker's", func(t *testing.T) {
		b := rabbittest.New(t, rabbittest.Config{Settings: "max_message_size = 1000\n"})
		e := open(t, b.Addr())
		declare(t, e, "t", "g")
		large := message("large", "")
		large.Data = make([]byte, 3000)
		if err := e.Bury(within(t, 20*time.Second), "t", "g", large); err != nil {
			t.Fatal(err)
		}
		letters, err := e.Dead(within(t, 20*time.Second), "t", "g", "", 10)
		if err != nil || len(letters) != 1 {
			t.Fatalf("%d letters, %v", len(letters), err)
		}
		if m := letters[0].Message; len(m.Data) != 750 || m.ID != "large" || m.Attributes["holdfastcutfrom"] != "3000" {
			t.Errorf("%s: %d bytes, %q", m.ID, len(m.Data), m.Attributes)
		}
		if len(large.Data) != 3000 || large.Attributes != nil {
			t.Error("the message itself was cut")
		}
	})
}
