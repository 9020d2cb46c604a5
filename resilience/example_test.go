package resilience_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// The attempt loop around anything that can fail. The rpc and rest clients are this, with a transport and a choice of
// the instance inside.
func ExampleCall() {
	var (
		ctx     = context.Background()
		policy  = &resilience.Policy{Timeout: time.Second}
		budget  = resilience.NewBudget(policy.Budget) // one for all calls to a target
		latency = new(resilience.Latency)             // one for all calls of a method
		answers = []error{failure.New(failure.Unavailable, "the connection broke"), nil}
	)
	call := resilience.Begin(resilience.Spec{
		Policy: policy, Budget: budget, Latency: latency, Safe: true,
		Deadline: resilience.Deadline(ctx, time.Now(), policy),
	})
	defer func() { call.End(time.Now()) }()
	plan, stop := call.Next(time.Now(), rand.Uint64())
	err := error(stop.Failure("inventory"))
	for stop == resilience.StopDone {
		start := time.Now()
		err = answers[plan.Number] // the attempt, until plan.Deadline
		fmt.Printf("attempt %d: %v\n", plan.Number+1, err)
		outcome := plan.Classify(failure.From(err), resilience.MaybeSent, time.Since(start))
		decision := call.Done(time.Now(), plan, outcome, 0, 0)
		if !decision.Retry {
			fmt.Println("stopped:", decision.Stop)
			break
		}
		// Wait for decision.Wait, or until ctx is done.
		plan, stop = call.Next(time.Now(), rand.Uint64())
	}
	fmt.Println(err)
	// Output:
	// attempt 1: UNAVAILABLE: the connection broke
	// attempt 2: <nil>
	// stopped: done
	// <nil>
}

func ExampleCallError() {
	var err error = &resilience.CallError{
		Service: "inventory", Method: "/shop.Inventory/Reserve",
		Attempts: []resilience.Attempt{{
			Instance: "inventory-2", Addr: "127.0.0.1:4002", Duration: 12 * time.Millisecond,
			Err: errors.New("the connection broke"),
		}},
		Stopped: resilience.StopUnsafe.String(), Err: failure.Unavailable,
	}
	fmt.Println(err)
	fmt.Println(errors.Is(err, failure.Unavailable))
	// Output:
	// call inventory /shop.Inventory/Reserve: at inventory-2 (127.0.0.1:4002) after 12ms: the connection broke; no further attempt: not declared safe to repeat
	// true
}

func ExamplePolicy_Validate() {
	fmt.Println(resilience.Policy{Timeout: -time.Second, MaxAttempts: 50}.Validate())
	// Output:
	// policy Timeout: -1s is negative; every call has a bound
	// policy MaxAttempts: 50 is not within 1 to 10
}
