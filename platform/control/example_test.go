package control_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

func Example() {
	server, err := control.NewServer(&fakeSystem{}, control.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- server.Run(ctx) }()

	client := control.NewClient(server.Addr())
	defer client.Close()
	instances, err := client.Instances(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, i := range instances {
		fmt.Println(i.ID, i.State)
	}
	_, err = client.Kill(ctx, "ordres", false)
	fmt.Println(err)

	cancel()
	fmt.Println(<-done)
	// Output:
	// control-1 ready
	// control-2 ready
	// catalog-1 ready
	// orders-1 ready
	// orders-2 frozen
	// NOT_FOUND: no service "ordres"; did you mean orders? services: catalog, orders, mail, control
	// <nil>
}

// What is broken stays broken for as long as somebody says so: a program that is killed in here leaves a system that mends
// itself within seconds.
func ExampleClient_Inject() {
	server, err := control.NewServer(&fakeSystem{}, control.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- server.Run(ctx) }()

	client := control.NewClient(server.Addr())
	defer client.Close()
	fault, err := client.Inject(ctx, control.FaultRequest{
		Kind:  control.FaultNet,
		TTL:   3 * time.Second,
		Links: []control.Link{{From: []string{"orders-1"}, To: []string{control.RegistryEnd}, Shape: control.Shape{CutOut: true, CutIn: true}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	// Look at what the system makes of it, and before 3 s are over:
	if _, err := client.Renew(ctx, fault.ID); err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.Mend(ctx, fault.ID))

	cancel()
	fmt.Println(<-done)
	// Output:
	// <nil>
	// <nil>
}
