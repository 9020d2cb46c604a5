package kafkaqueue_test

import (
	"fmt"

	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/kafkaqueue"
)

// A program that links the opener can be given a URL of Kafka's. Opening connects to nothing.
func ExampleOpener() {
	opener := kafkaqueue.Opener{}
	fmt.Println(opener.CheckURL("kafka://shop:secret@broker:9092?sasl=kerberos"))

	engine, err := opener.OpenQueue("kafka://127.0.0.1:9092?partitions=24", driver.OpenOptions{Name: "orders/orders-1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer engine.Close()
	fmt.Println(engine.Capabilities().Ordered, engine.Capabilities().Delay, engine.Capabilities().Counts)
	// Output:
	// has an option sasl that is not one of plain, scram-sha-256, scram-sha-512
	// true true false
}
