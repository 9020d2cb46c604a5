package queue_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/memqueue"
)

// Paid is what is published.
type Paid struct {
	Order string
	Cents int
}

// What is published is handled by each group, by one of its instances.
func Example() {
	engine := memqueue.New(memqueue.Config{})
	defer engine.Close()
	q := queue.New(engine, queue.Config{Source: "orders"})
	defer q.Close()

	topic, err := queue.NewTopic[Paid](q, "orders.paid", queue.Groups("shipping"))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	if err := topic.Publish(ctx, Paid{Order: "4711", Cents: 1999}, queue.Key("4711")); err != nil {
		fmt.Println("not confirmed:", err)
		return
	}

	shipping, err := queue.NewSubscription(q, "orders.paid", "shipping", queue.Handle(func(_ context.Context, m queue.Message[Paid]) error {
		fmt.Println("ship", m.Value.Order, "of", m.Source)
		stop()
		return nil
	}), queue.SubscriptionConfig{Ordered: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(shipping.Run(ctx))
	// Output:
	// ship 4711 of orders
	// <nil>
}

// A message that can never be handled is set aside, for people to look at and to replay.
func ExampleDeadLetters() {
	engine := memqueue.New(memqueue.Config{})
	defer engine.Close()
	q := queue.New(engine, queue.Config{})
	defer q.Close()
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	if err := q.Publish(ctx, "orders.paid", Paid{Order: "4711"}); err != nil {
		fmt.Println(err)
		return
	}
	shipping, err := queue.NewSubscription(q, "orders.paid", "shipping", queue.Handle(func(context.Context, queue.Message[Paid]) error {
		stop() // what has begun finishes all the same
		return queue.Reject(errors.New("no address"))
	}), queue.SubscriptionConfig{})
	if err == nil {
		err = shipping.Run(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	letters := q.DeadLetters("orders.paid", "shipping")
	list, err := letters.List(context.Background(), "", 10)
	for _, l := range list {
		fmt.Println(l.Reason+":", l.LastError, string(l.Message.Data))
	}
	n, err2 := letters.ReplayAll(context.Background())
	fmt.Println("replayed", n, errors.Join(err, err2))
	// Output:
	// rejected by its handler: no address {"Order":"4711","Cents":0}
	// replayed 1 <nil>
}
