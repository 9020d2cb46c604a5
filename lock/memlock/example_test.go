package memlock_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/lock/memlock"
)

// A test takes the engine away from a holder.
func Example() {
	engine := memlock.New()
	locker := lock.New(engine, lock.Config{TTL: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	defer locker.Close()
	held, err := locker.Mutex("ledger").Lock(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	engine.Freeze()
	<-held.Context().Done()
	fmt.Println("lost:", errors.Is(context.Cause(held.Context()), lock.ErrLost))
	engine.Thaw()
	// Output:
	// lost: true
}
