package rabbitqueue_test

import (
	"context"
	"log"

	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/rabbitqueue"
)

// A topic in RabbitMQ, and a group that handles it in order per key.
func Example() {
	engine, err := rabbitqueue.Open(rabbitqueue.Config{Endpoints: []string{"127.0.0.1:5672"}})
	if err != nil {
		log.Fatal(err)
	}
	q := queue.New(engine, queue.Config{Source: "orders"})
	defer q.Close()

	paid, err := queue.NewTopic[string](q, "orders.paid", queue.Groups("shipping"))
	if err != nil {
		log.Print(err)
		return
	}
	if err := paid.Publish(context.Background(), "order 4711", queue.Key("4711")); err != nil {
		log.Print(err) // it may have been taken: publish again with the same queue.ID
	}
	ship := queue.Handle(func(_ context.Context, m queue.Message[string]) error {
		log.Printf("ship %s", m.Value)
		return nil
	})
	shipping, err := queue.NewSubscription(q, "orders.paid", "shipping", ship, queue.SubscriptionConfig{Ordered: true})
	if err != nil {
		log.Print(err)
		return
	}
	if err := shipping.Run(context.Background()); err != nil {
		log.Print(err)
	}
}
