package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/holdfast-go/holdfast/lifecycle"
)

func Example() {
	server := lifecycle.Named("server", lifecycle.Func(func(ctx context.Context) error {
		fmt.Println("serving")
		<-ctx.Done()
		fmt.Println("finished what was in flight")
		return nil
	}))
	consumer := lifecycle.Named("consumer", lifecycle.Func(func(context.Context) error {
		return errors.New("broker is gone")
	}))
	cfg := lifecycle.Config{StopTimeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)}
	fmt.Println(cfg.Run(context.Background(), server, consumer))
	// Unordered output:
	// serving
	// finished what was in flight
	// run consumer: broker is gone
}

func ExampleSupervisor() {
	quiet := slog.New(slog.DiscardHandler)
	tasks := lifecycle.NewSupervisor(lifecycle.SupervisorConfig{MinBackoff: time.Millisecond, Logger: quiet})
	ctx, stop := context.WithCancel(context.Background())
	runs := 0
	tasks.Go("reindex", func(context.Context) error {
		runs++
		if runs == 1 {
			panic("no index yet") // is an error, and the task is run again
		}
		fmt.Println("indexed by run", runs)
		stop()
		return nil
	})
	fmt.Println(lifecycle.Config{Logger: quiet}.Run(ctx, tasks))
	// Output:
	// indexed by run 2
	// <nil>
}
