//go:build real && unix

package rabbittest_test

import (
	"net"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/internal/rabbittest"
)

// TestRealBroker: a kill keeps what was confirmed, a frozen one does not answer, an empty start has nothing, and the
// address stays.
func TestRealBroker(t *testing.T) {
	ctx := t.Context()
	b := rabbittest.New(t, rabbittest.Config{})
	withChannel(t, b, func(ch *amqp.Channel) {
		if _, err := ch.QueueDeclare("q", true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
			t.Fatal(err)
		}
		if err := ch.Confirm(false); err != nil {
			t.Fatal(err)
		}
		dc, err := ch.PublishWithDeferredConfirm("", "q", true, false, amqp.Publishing{Body: []byte("v"), DeliveryMode: amqp.Persistent})
		if err != nil || !dc.Wait() {
			t.Fatalf("publish: %v", err)
		}
		select { // see Settle
		case <-time.After(rabbittest.Settle):
		case <-ctx.Done():
		}
	})
	if err := b.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	withChannel(t, b, func(ch *amqp.Channel) {
		if d, ok, err := ch.Get("q", true); err != nil || !ok || string(d.Body) != "v" {
			t.Errorf("after a kill: %q, %v, %v", d.Body, ok, err)
		}
	})

	if err := b.Freeze(); err != nil {
		t.Fatal(err)
	}
	c, err := net.DialTimeout("tcp", b.Addr(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := amqp.Open(c, amqp.Config{SASL: []amqp.Authentication{&amqp.PlainAuth{Username: "guest", Password: "guest"}}}); err == nil {
		t.Error("frozen, it answers")
	}
	if err := b.Thaw(); err != nil {
		t.Fatal(err)
	}

	if err := b.RestartEmpty(ctx); err != nil {
		t.Fatal(err)
	}
	withChannel(t, b, func(ch *amqp.Channel) {
		if _, err := ch.QueueDeclarePassive("q", true, false, false, false, nil); err == nil {
			t.Error("restarted empty, it has a queue")
		}
	})
	if b.PID() == 0 {
		t.Error("it runs and has no process id")
	}
	b.Close()
	if b.PID() != 0 {
		t.Error("closed, it has a process id")
	}
	if _, err := b.Ctl(ctx, "status"); err == nil {
		t.Error("closed, it answers rabbitmqctl")
	}
}

func withChannel(t *testing.T, b *rabbittest.Broker, f func(*amqp.Channel)) {
	t.Helper()
	conn, err := amqp.Dial("amqp://guest:guest@" + b.Addr() + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	f(ch)
}
