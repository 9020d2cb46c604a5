package control_test

import (
	"context"
	"fmt"
	"log"

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
