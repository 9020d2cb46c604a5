//go:build real && unix

package rabbitqueue

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/rabbittest"
)

// TestRealMadeByTwo: several who make a queue at the same time, and know different things of its topic, have it all of them.
func TestRealMadeByTwo(t *testing.T) {
	b := rabbittest.New(t, rabbittest.Config{})
	e, err := Open(Config{Endpoints: []string{b.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 20 {
		const makers = 4
		made := make(chan error, makers)
		for replicas := range makers {
			go func() {
				made <- e.ask(ctx, func(_ context.Context, a *asker) error {
					_, err := a.quorum("q"+strconv.Itoa(i), replicas, nil)
					_, ok, again := a.queue("q" + strconv.Itoa(i))
					if err == nil && !ok {
						err = errors.New("it is not there")
					}
					return errors.Join(err, again)
				})
			}()
		}
		for range makers {
			if err := <-made; err != nil {
				t.Fatalf("queue %d: %v", i, err)
			}
		}
	}
}
