package lock_test

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/lock/memlock"
)

// One at a time does what must not be done twice at once, for as long as its context lasts.
func Example() {
	locker := lock.New(memlock.New(), lock.Config{TTL: 10 * time.Second, Name: "orders-1"})
	defer locker.Close()

	held, err := locker.Mutex("nightly-report").Lock(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := held.Context() // ends before another one can hold the lock
	fmt.Println("working:", ctx.Err() == nil, "with a token:", held.Token() > 0)
	if err := held.Unlock(context.Background()); err != nil {
		fmt.Println("the lock was lost meanwhile:", err)
	}
	fmt.Println("working:", ctx.Err() == nil)
	// Output:
	// working: true with a token: true
	// working: false
}

// A leader runs a function whose context ends with its leadership; others see who leads.
func ExampleElection_Lead() {
	locker := lock.New(memlock.New(), lock.Config{Name: "orders-1"})
	defer locker.Close()
	election := locker.Election("dispatcher")

	err := election.Lead(context.Background(), "10.0.0.7:8080", func(_ context.Context, _ uint64) error {
		leader, ok, err := election.Leader(context.Background())
		fmt.Println(leader.Value, ok, err)
		return nil // resigns
	})
	fmt.Println(err)
	// Output:
	// 10.0.0.7:8080 true <nil>
	// <nil>
}
