package config_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/config"
	"github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/config/memconfig"
)

// emptied is an engine that has nothing any more once its first watch has ended, and counts on. Its watches report nothing.
type emptied struct {
	*memconfig.Driver
	late time.Duration // between the end of a watch and the word of it
	err  error         // with which it ends; nil for ctx's own
	over bool
}

func (e *emptied) List(ctx context.Context, prefix string) (driver.Listing, error) {
	l, err := e.Driver.List(ctx, prefix)
	if e.over {
		l.Entries = nil
	}
	return l, err
}

func (e *emptied) Watch(context.Context, string, uint64) (driver.Watcher, error) { return e, nil }

func (e *emptied) Next(ctx context.Context) (driver.Update, error) {
	<-ctx.Done()
	<-time.After(e.late)
	e.over = true
	if e.err != nil {
		return driver.Update{}, e.err
	}
	return driver.Update{}, ctx.Err()
}

// TestWhoWasFrozenDoesNotBelieveInNothing: whether its watch broke while it stood still it cannot know, nor whether the engine
// lost all it had.
func TestWhoWasFrozenDoesNotBelieveInNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		late time.Duration
		err  error
		kept bool
	}{
		{name: "awake, by a watch that missed it"},
		{name: "frozen for five seconds", late: 5 * time.Second, kept: true},
		{name: "awake, and the watch broke when it was over", err: errors.New("connection lost"), kept: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := config.New(&emptied{Driver: memconfig.New(), late: c.late, err: c.err}, config.Config{Logger: slog.New(slog.DiscardHandler)})
				defer s.Close()
				for _, key := range []string{"a/b", "a/c"} {
					if _, err := s.Put(t.Context(), key, []byte("1")); err != nil {
						t.Fatal(err)
					}
				}
				w := config.Follow(s, "a/", text)
				if set, err := w.Next(t.Context()); err != nil || len(set.Settings) != 2 {
					t.Fatalf("%v, %v", set.Settings, err)
				}
				<-time.After(2 * time.Minute)
				set, _ := w.Current()
				kept := len(set.Settings) == 2 && set.Settings["a/b"].InForce && set.Settings["a/b"].Kept
				if kept != c.kept || !c.kept && len(set.Settings) > 0 {
					t.Errorf("in force: %+v, want kept: %v", set.Settings, c.kept)
				}
			})
		})
	}
}
