package registry_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/memregistry"
)

// shrunk is an engine that has one instance less once its first watch has ended. Its watches report nothing.
type shrunk struct {
	*memregistry.Driver
	late time.Duration // between the end of a watch and the word of it
	over bool
}

func (s *shrunk) List(context.Context, string) (driver.Listing, error) {
	var l driver.Listing
	for _, id := range []string{"1", "2", "3"} {
		if id != "3" || !s.over {
			l.Records = append(l.Records, driver.Record{Instance: orders(id)})
		}
	}
	return l, nil
}

func (s *shrunk) Watch(context.Context, string, uint64) (driver.Watcher, error) { return s, nil }

func (s *shrunk) Next(ctx context.Context) (driver.Update, error) {
	<-ctx.Done()
	<-time.After(s.late)
	s.over = true
	return driver.Update{}, ctx.Err()
}

// TestWhoWasFrozenTakesItForAnOutage: the engine may have been away and back while it stood still, and then not all instances
// are back at one moment.
func TestWhoWasFrozenTakesItForAnOutage(t *testing.T) {
	for _, late := range []time.Duration{0, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			r := registry.New(&shrunk{Driver: memregistry.New(), late: late}, registry.Config{Logger: slog.New(slog.DiscardHandler)})
			defer r.Close()
			w := r.Watch("orders")
			if set, err := w.Next(t.Context()); err != nil || len(set.Instances) != 3 {
				t.Fatalf("%v, %v", set, err)
			}
			set, err := w.Next(t.Context())
			if frozen := late > 0; err != nil || set.Suspect["3"] != frozen || (len(set.Instances) == 3) != frozen || set.Source != registry.Live {
				t.Errorf("frozen for %v: %+v, %v", late, set, err)
			}
		})
	}
}
