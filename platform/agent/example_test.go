package agent_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/platform/agent"
)

// A platform, and a process that follows it, which is usually another one and finds the agent in its environment.
func Example() {
	platform, err := agent.Listen(agent.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- platform.Run(ctx) }()

	path := strings.TrimPrefix(platform.Env(), agent.Variable+"=")
	process := fault.Follow(path, fault.Hello{Service: "orders", Instance: "orders-1", PID: 7},
		fault.Saying{Stats: func() fault.Stats { return fault.Stats{} }}, slog.New(slog.DiscardHandler))
	<-platform.Changed()
	fmt.Println("follows:", platform.Follows("orders-1"))

	slow := fault.Plan{Calls: []fault.Calls{{Share: 1, Delay: time.Second}}}
	fmt.Println("in force:", platform.SetPlan(ctx, "orders-1", slow) == nil)
	fmt.Println("another:", platform.SetPlan(ctx, "orders-2", slow))

	_ = process.Close()
	cancel()
	fmt.Println(<-done)
	// Output:
	// follows: true
	// in force: true
	// another: FAILED_PRECONDITION: orders-2 does not follow
	// <nil>
}
