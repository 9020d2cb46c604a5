package breakage

import (
	"context"
	"fmt"
	"testing"

	"github.com/holdfast-go/holdfast/platform/control"
)

// What is broken is said in words, and is gone at the end, whoever has forgotten to mend it.
func Example() {
	system := newFake(&testing.T{})
	keeper := New(system, Config{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- keeper.Run(ctx) }()

	req := control.FaultRequest{Kind: control.FaultFreeze, Targets: []string{"orders-1"}, TTL: control.MaxTTL}
	fault, err := keeper.Inject(ctx, req)
	for err != nil { // it has only just been started
		fault, err = keeper.Inject(ctx, req)
	}
	fmt.Println(fault.What)
	fmt.Println("frozen:", system.proc("orders-1").frozen)

	cancel()
	fmt.Println(<-done)
	fmt.Println("frozen:", system.proc("orders-1").frozen)
	// Output:
	// orders-1 is frozen
	// frozen: true
	// <nil>
	// frozen: false
}
