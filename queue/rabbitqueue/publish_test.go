package rabbitqueue

import (
	"context"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TestAConfirmCountsAtTheEndOfTheTime: what is confirmed when the caller's time is over is confirmed.
func TestAConfirmCountsAtTheEndOfTheTime(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	confirm := make(chan struct{})
	if came(ctx, confirm) {
		t.Error("it did not come")
	}
	close(confirm)
	for range 100 { // a select of both would take either
		if !came(ctx, confirm) {
			t.Fatal("it came")
		}
	}
}

// TestReturnsAreToldApart: a message that came back is told so once, also if others ask first.
func TestReturnsAreToldApart(t *testing.T) {
	p := &publisher{returns: make(chan amqp.Return, 10), returned: make(map[string]int)}
	ask := func(id string) bool { return p.cameBack(sending{exchange: "x", key: "3", id: id}) }
	if ask("a") {
		t.Error("nothing came back")
	}
	for _, id := range []string{"a", "b", "a"} {
		p.returns <- amqp.Return{Exchange: "x", RoutingKey: "3", MessageId: id}
	}
	for i, want := range []bool{true, true, false} {
		if got := ask("a"); got != want {
			t.Errorf("ask %d for a: %v", i, got)
		}
	}
	if ask("c") || !ask("b") || ask("b") {
		t.Error("b came back once, c did not")
	}
	if p.cameback.Load() != 0 || len(p.returned) != 0 {
		t.Errorf("%d are kept", len(p.returned))
	}
	p.returns <- amqp.Return{Exchange: "x", RoutingKey: "3", MessageId: "d"}
	close(p.returns) // the channel has ended
	if !ask("d") || ask("d") {
		t.Error("d came back before the end")
	}
}
