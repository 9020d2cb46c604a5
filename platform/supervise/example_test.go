//go:build unix

package supervise_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/holdfast-go/holdfast/platform/supervise"
)

// A worker, until it has said something.
func ExampleSupervisor() {
	dir, err := os.MkdirTemp("", "system")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := supervise.New(supervise.Config{Dir: dir, Env: os.Environ()})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, tail, err := s.Logs("", 0, true)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer tail.Stop()
	err = s.Add(supervise.Group{
		Service: "worker", Replicas: 1,
		Command: []string{"sh", "-c", `echo "$HOLDFAST_INSTANCE is working"; sleep 1000`},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	line, err := tail.Next(ctx)
	fmt.Println(line.Text, err)
	cancel()
	fmt.Println(<-ended)
	// Output:
	// worker-1 is working <nil>
	// <nil>
}
