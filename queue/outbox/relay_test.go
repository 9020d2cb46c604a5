package outbox_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/outbox"
	"github.com/holdfast-go/holdfast/queue/outbox/outboxtest"
)

var (
	errEngine  = failure.New(failure.Unavailable, "the engine is away")
	errMessage = failure.New(failure.InvalidArgument, "too large")
	errStore   = failure.New(failure.Unavailable, "the store is away")
)

// pass lets virtual time go on.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // in virtual time
}

func event(topic, id, key string) outbox.Event {
	return outbox.Event{Topic: topic, Message: outboxtest.Message(id, key)}
}

// run runs a relay until the test ends or stop is called, which returns what Run did.
func run(t *testing.T, r *outbox.Relay) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(cancel)
	return func() error {
		cancel()
		return <-done
	}
}

// taken are the IDs that were taken, in order.
func taken(r *outboxtest.Recorder) string {
	var ids []string
	for _, t := range r.Taken() {
		ids = append(ids, t.ID)
	}
	return strings.Join(ids, " ")
}

func (f *forgetful) Pending(ctx context.Context, q outbox.Query) ([]outbox.Event, error) {
	q.Skip = outbox.Skip{}
	return f.Memory.Pending(ctx, q)
}

// A leader's ctx may know by its clock that it is over before anything has ended it. It is asked before each batch.
func TestALeaderWhoseContextLooksAtTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(outboxtest.Memory)
		pub := new(outboxtest.Recorder)
		var over atomic.Bool
		var terms atomic.Int64
		stop := run(t, outbox.New(store, pub, outbox.Config{Lead: func(ctx context.Context, fn func(context.Context) error) error {
			if terms.Add(1) > 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			return fn(clocked{ctx, &over})
		}}))
		store.Add(event("t", "1", "a"))
		pass(time.Second)
		over.Store(true) // it stood still meanwhile; nothing of it has run
		store.Add(event("t", "2", "a"))
		pass(time.Minute)
		if got := taken(pub); got != "1" || terms.Load() != 2 {
			t.Errorf("taken: %s; %d terms", got, terms.Load())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// clocked is a ctx that tells only those who ask its Err.
type clocked struct {
	context.Context
	over *atomic.Bool
}

func (c clocked) Err() error {
	if c.over.Load() {
		return lock.ErrLost
	}
	return c.Context.Err()
}

// A relay that is busy when it ends does not wait for events; its store is told all the same.
func TestAStoreIsToldOfTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(outboxtest.Memory)
		var waiting, told atomic.Bool
		store.Fail = func(ctx context.Context, method string) error {
			if method == "Wait" {
				waiting.Store(true)
				told.Store(ctx.Err() != nil)
			}
			return nil
		}
		pub := &outboxtest.Recorder{Fail: func(ctx context.Context, _ string, _ *driver.Message) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		stop := run(t, outbox.New(store, pub, outbox.Config{PublishTimeout: time.Hour}))
		pass(time.Second)
		store.Add(event("t", "1", "a"))
		pass(time.Second)
		if !waiting.Load() || told.Load() {
			t.Error("it did not wait, or was told too early")
		}
		if err := stop(); err != nil || !told.Load() {
			t.Errorf("%v; told: %v", err, told.Load())
		}
	})
}

// What is published and cannot be marked is not published again by the same relay.
func TestAStoreThatCannotMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(outboxtest.Memory)
		var broken atomic.Bool
		var marks atomic.Int64
		store.Fail = func(_ context.Context, method string) error {
			if broken.Load() && method != "Wait" {
				if method == "Done" {
					marks.Add(1)
				}
				return errStore
			}
			return nil
		}
		var once sync.Once
		pub := &outboxtest.Recorder{After: func(context.Context, string) error {
			once.Do(func() { broken.Store(true) })
			return nil
		}}
		store.Add(event("t", "1", "a"), event("t", "2", "a"))
		r := outbox.New(store, pub, outbox.Config{})
		stop := run(t, r)
		pass(time.Minute)
		if s := r.Status(); s.Published != 2 || s.Marked != 0 || marks.Load() < 30 || marks.Load() > 200 {
			t.Errorf("%+v, %d attempts to mark", s, marks.Load())
		}
		broken.Store(false)
		store.Add(event("t", "3", "a"))
		pass(10 * time.Second)
		if s := r.Status(); taken(pub) != "1 2 3" || s.Marked != 3 || store.Left() != 0 {
			t.Errorf("taken: %s; %+v", taken(pub), s)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

type publisherFunc func(ctx context.Context, topic string, messages []*driver.Message) []error

func (f publisherFunc) PublishMessages(ctx context.Context, topic string, messages []*driver.Message) []error {
	return f(ctx, topic, messages)
}

func (c *cleaned) Clean(_ context.Context, limit int) (int, error) {
	n := min(c.old, limit)
	c.old -= n
	c.most = max(c.most, n)
	return n, nil
}
