package outbox_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/lock/memlock"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/outbox"
	"github.com/holdfast-go/holdfast/queue/outbox/outboxtest"
)

// A process that ends between publishing and marking leaves events that are published again, with the same ID, in order.
func TestAnEndBetweenPublishingAndMarking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(outboxtest.Memory)
		var dead atomic.Bool
		store.Fail = func(_ context.Context, method string) error {
			if dead.Load() {
				return errStore
			}
			return nil
		}
		pub := &outboxtest.Recorder{}
		var keys []string
		for k := range 3 {
			keys = append(keys, fmt.Sprint("k", k))
			for i := range 10 {
				store.Add(event("t", fmt.Sprintf("k%d-%04d", k, i), fmt.Sprint("k", k)))
			}
		}
		pub.After = func(context.Context, string) error { dead.Store(len(pub.Taken()) >= 8); return nil }
		stop := run(t, outbox.New(store, pub, outbox.Config{Batch: 4}))
		pass(10 * time.Second)
		if err := stop(); err != nil {
			t.Error(err)
		}
		dead.Store(false)
		pub.After = nil
		stop = run(t, outbox.New(store, pub, outbox.Config{Batch: 4}))
		pass(10 * time.Second)
		if err := stop(); err != nil {
			t.Error(err)
		}
		for _, wrong := range pub.Ordered("t", keys, 10) {
			t.Error(wrong)
		}
		if _, doubles := pub.First(); doubles != 4 {
			t.Errorf("%d doubles, want those of the batch that was not marked", doubles)
		}
	})
}

// An event whose number is lower than of those published before it is published when it appears.
func TestAnEventThatIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(outboxtest.Memory)
		pub := new(outboxtest.Recorder)
		store.Late(5, event("t", "5", ""))
		stop := run(t, outbox.New(store, pub, outbox.Config{}))
		pass(time.Second)
		store.Late(3, event("t", "3", ""))
		pass(time.Second)
		store.Late(1, event("t", "1", ""))
		pass(time.Second)
		if got := taken(pub); got != "5 3 1" {
			t.Errorf("taken: %s", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestDrain(t *testing.T) {
	for _, c := range []struct {
		name  string
		each  time.Duration // a batch of 10 takes
		least int
		most  time.Duration
	}{{"all of it in time", 100 * time.Millisecond, 100, 2 * time.Second}, {"what there is time for", time.Second, 40, 5100 * time.Millisecond}, {"a queue that hangs", time.Hour, 0, 5100 * time.Millisecond}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(outboxtest.Memory)
				for i := range 100 {
					store.Add(event("t", fmt.Sprintf("a-%04d", i), "a"))
				}
				pub := &outboxtest.Recorder{Fail: func(ctx context.Context, _ string, _ *driver.Message) error {
					select {
					case <-time.After(c.each / 10):
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				}}
				stop := run(t, outbox.New(store, pub, outbox.Config{Batch: 10}))
				pass(50 * time.Millisecond)
				began := time.Now()
				if err := stop(); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > c.most {
					t.Errorf("took %v", took)
				}
				if got := len(pub.Taken()); got < c.least || got+store.Left() != 100 {
					t.Errorf("%d published, %d left: what was taken has to be marked", got, store.Left())
				}
			})
		})
	}
}

// A leader that lost its lock while it was publishing goes on for a moment beside its successor: events may come twice, with the same
// ID; first deliveries keep their order, and nothing is lost.
func TestTwoThatBothThinkTheyLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engines := []*memlock.Driver{memlock.New()}
		engines = append(engines, engines[0].Another())
		store := new(outboxtest.Memory)
		pub := new(outboxtest.Recorder)
		var relays []*outbox.Relay
		var stops []func() error
		var frozen atomic.Bool
		thaw := make(chan struct{})
		for i, e := range engines {
			locker := lock.New(e, lock.Config{TTL: 2 * time.Second, Logger: slog.New(slog.DiscardHandler)})
			defer locker.Close()
			mine := outbox.Publisher(pub)
			if i == 0 {
				mine = publisherFunc(func(ctx context.Context, topic string, messages []*driver.Message) []error {
					if frozen.Load() {
						<-thaw
						ctx = context.WithoutCancel(ctx) // it had looked before it stood still
					}
					return pub.PublishMessages(ctx, topic, messages)
				})
			}
			relays = append(relays, outbox.New(store, mine, outbox.Config{Batch: 5, Lead: outbox.ByElection(locker.Election("outbox"), fmt.Sprint(i))}))
			stops = append(stops, run(t, relays[i]))
			pass(5 * time.Second) // who is first stands first
		}
		next := 0
		add := func(n int) {
			for range n {
				store.Add(event("t", fmt.Sprintf("a-%04d", next), "a"), event("t", fmt.Sprintf("b-%04d", next), "b"))
				next++
			}
		}
		add(10)
		pass(time.Second)
		if !relays[0].Status().Leading || relays[1].Status().Leading {
			t.Fatal("the first does not lead alone")
		}
		frozen.Store(true)
		engines[0].Freeze()
		add(20)
		pass(20 * time.Second)
		if !relays[1].Status().Leading || store.Left() != 0 {
			t.Fatalf("the second has not taken over: %+v, %d left", relays[1].Status(), store.Left())
		}
		frozen.Store(false)
		close(thaw)
		engines[0].Thaw()
		add(20)
		pass(20 * time.Second)
		for _, wrong := range pub.Ordered("t", []string{"a", "b"}, 50) {
			t.Error(wrong)
		}
		_, doubles := pub.First()
		if doubles == 0 || doubles > 5 || store.Left() != 0 {
			t.Errorf("%d doubles, want those of the batch in the hands of the frozen one; %d left", doubles, store.Left())
		}
		for _, stop := range stops {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
	})
}

// Whatever fails and whenever it is restarted: nothing is lost and first deliveries are in order.
func TestARelayUnderFaults(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				var dice atomic.Uint64
				chance := func(percent uint64) bool { // for all goroutines: the schedule is not the same each time, what holds is
					return rand.New(rand.NewPCG(seed, dice.Add(1))).Uint64N(100) < percent
				}
				var calm atomic.Bool
				store := new(outboxtest.Memory)
				store.Fail = func(_ context.Context, method string) error {
					if !calm.Load() && chance(15) {
						return errStore
					}
					return nil
				}
				pub := &outboxtest.Recorder{
					Fail: func(ctx context.Context, _ string, m *driver.Message) error {
						switch {
						case calm.Load():
							return nil
						case chance(3):
							return errMessage
						case chance(5):
							return errEngine
						case chance(1):
							<-ctx.Done()
							return ctx.Err()
						}
						return nil
					},
					After: func(context.Context, string) error {
						if !calm.Load() && chance(10) {
							return errEngine // taken, and nobody knows
						}
						return nil
					},
				}
				var keys []string
				next := map[string]int{}
				for k := range 5 {
					keys = append(keys, fmt.Sprint("k", k))
				}
				for range 6 {
					relay := outbox.New(store, pub, outbox.Config{Batch: 1 + rnd.IntN(20), PublishTimeout: time.Second, DrainTimeout: time.Second})
					stop := run(t, relay)
					for range 30 {
						key := keys[rnd.IntN(len(keys))]
						store.Add(event("t", fmt.Sprintf("%s-%04d", key, next[key]), key))
						next[key]++
						pass(time.Duration(rnd.IntN(200)) * time.Millisecond)
					}
					if err := stop(); err != nil {
						t.Error(err)
					}
				}
				calm.Store(true)
				stop := run(t, outbox.New(store, pub, outbox.Config{}))
				pass(5 * time.Minute)
				if err := stop(); err != nil {
					t.Error(err)
				}
				for _, key := range keys {
					for _, wrong := range pub.Ordered("t", []string{key}, next[key]) {
						t.Error(wrong)
					}
				}
				if store.Left() > 0 {
					t.Errorf("%d left", store.Left())
				}
			})
		})
	}
}

func TestLagAndHousekeeping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &cleaned{old: 1200}
		var away atomic.Bool
		away.Store(true)
		pub := &outboxtest.Recorder{Fail: func(context.Context, string, *driver.Message) error {
			if away.Load() {
				return errEngine
			}
			return nil
		}}
		began := time.Now()
		store.Add(event("t", "1", ""), event("t", "2", ""))
		r := outbox.New(store, pub, outbox.Config{})
		stop := run(t, r)
		pass(time.Minute)
		if l := r.Status().Lag; l.Pending != 2 || !l.Oldest.Equal(began) {
			t.Errorf("%+v", l)
		}
		away.Store(false)
		pass(time.Minute)
		s := r.Status()
		if s.Lag.Pending != 0 || !s.Lag.Oldest.IsZero() || s.Cleaned != 1200 || store.most > 500 {
			t.Errorf("%+v, at most %d removed at a time", s, store.most)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// cleaned is a store that keeps events.
type cleaned struct {
	outboxtest.Memory
	old, most int
}

// A panic of the store or the publisher, in whichever goroutine, is an error as any other: the relay goes on.
func TestAPanicIsAnError(t *testing.T) {
	for _, method := range []string{"Wait", "Lag", "Clean", "PublishMessages"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var panicked atomic.Bool
				mad := func(_ context.Context, called string) error {
					if called == method && !panicked.Swap(true) {
						panic("mad")
					}
					return nil
				}
				store := new(swept)
				store.Fail = mad
				pub := new(outboxtest.Recorder)
				stop := run(t, outbox.New(store, publisherFunc(func(ctx context.Context, topic string, messages []*driver.Message) []error {
					_ = mad(ctx, "PublishMessages")
					return pub.PublishMessages(ctx, topic, messages)
				}), outbox.Config{}))
				store.Add(event("t", "1", "a"))
				pass(time.Minute)
				store.Add(event("t", "2", "a"))
				pass(time.Minute)
				if got := taken(pub); got != "1 2" || !panicked.Load() || store.Left() != 0 {
					t.Errorf("taken: %s; %d left; panicked: %v", got, store.Left(), panicked.Load())
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// swept is a store that has nothing to clean.
type swept struct{ outboxtest.Memory }

func (s *swept) Clean(ctx context.Context, _ int) (int, error) { return 0, s.Fail(ctx, "Clean") }
