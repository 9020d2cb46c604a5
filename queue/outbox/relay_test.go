package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/lock/memlock"
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

func TestAFailedEventHoldsItsKeyAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(outboxtest.Memory)
		var broken atomic.Bool
		broken.Store(true)
		pub := &outboxtest.Recorder{Fail: func(_ context.Context, _ string, m *driver.Message) error {
			if broken.Load() && (m.ID == "a1" || m.ID == "n1") {
				return errEngine
			}
			return nil
		}}
		store.Add(event("t", "a0", "a"), event("t", "a1", "a"), event("t", "a2", "a"), event("t", "b0", "b"), event("t", "n1", ""), event("t", "n2", ""))
		r := outbox.New(store, pub, outbox.Config{})
		stop := run(t, r)
		pass(time.Minute)
		store.Add(event("t", "a3", "a"), event("t", "b1", "b"))
		pass(time.Second)
		if got := taken(pub); got != "a0 b0 n2 b1" {
			t.Errorf("taken: %s", got)
		}
		held := r.Status().Held
		if len(held) != 2 || held[0].Key != "a" || held[0].Seq != 2 || held[1].Key != "" || held[1].Seq != 5 || held[0].Attempts < 3 || !errors.Is(held[0].Err, errEngine) {
			t.Errorf("held: %+v", held)
		}
		if n := r.Status().Failed; n > 100 {
			t.Errorf("%d attempts failed within a minute", n)
		}
		broken.Store(false)
		pass(time.Minute + time.Second)
		if got := taken(pub); got != "a0 b0 n2 b1 a1 a2 a3 n1" && got != "a0 b0 n2 b1 n1 a1 a2 a3" && got != "a0 b0 n2 b1 a1 n1 a2 a3" {
			t.Errorf("taken at the end: %s", got)
		}
		if s := r.Status(); len(s.Held) > 0 || s.Published != 8 || s.Marked != 8 || store.Left() != 0 {
			t.Errorf("%+v, %d left", s, store.Left())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestATopicThatIsAwayHoldsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(outboxtest.Memory)
		var away atomic.Bool
		away.Store(true)
		var calls atomic.Int64
		pub := &outboxtest.Recorder{Fail: func(ctx context.Context, topic string, m *driver.Message) error {
			if topic != "down" || !away.Load() {
				return nil
			}
			if m.ID == "d0" {
				calls.Add(1)
			}
			<-ctx.Done() // frozen, not refusing
			return ctx.Err()
		}}
		r := outbox.New(store, pub, outbox.Config{Batch: 10})
		stop := run(t, r)
		for i := range 100 {
			store.Add(event("down", fmt.Sprint("d", i), fmt.Sprint(i%3)), event("up", fmt.Sprint("u", i), ""))
		}
		began := time.Now()
		for first, _ := pub.First(); len(first["up"]) < 100; first, _ = pub.First() {
			pass(10 * time.Millisecond)
			if time.Since(began) > 3*time.Second {
				t.Fatalf("%d events of the other topic after %v", len(first["up"]), time.Since(began))
			}
		}
		pass(10 * time.Minute)
		store.Add(event("up", "last", ""))
		pass(time.Second)
		if !strings.HasSuffix(taken(pub), "last") {
			t.Error("the other topic is held up")
		}
		if n := calls.Load(); n < 30 || n > 60 { // 10 s each, and a pause of 2.5 to 5 s
			t.Errorf("tried %d times in 10 minutes", n)
		}
		if held := r.Status().Held; len(held) != 1 || held[0].Topic != "down" || held[0].Key != "" || held[0].Seq != 0 {
			t.Errorf("held: %+v", held)
		}
		away.Store(false)
		pass(20 * time.Second)
		first, doubles := pub.First()
		if store.Left() != 0 || doubles != 0 || !slices.IsSortedFunc(first["down/0"], func(a, b string) int { return len(a) - len(b) }) {
			t.Errorf("%d left, %d doubles, %v", store.Left(), doubles, first["down/0"])
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// What an engine will never take waits, seldom tried, until somebody looks: what is discarded by hand frees its key.
func TestAMessageThatIsAtFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(outboxtest.Memory)
		var tries atomic.Int64
		pub := &outboxtest.Recorder{Fail: func(_ context.Context, _ string, m *driver.Message) error {
			if m.ID == "bad" {
				tries.Add(1)
				return errMessage
			}
			return nil
		}}
		store.Add(event("t", "bad", "a"), event("t", "next", "a"))
		r := outbox.New(store, pub, outbox.Config{})
		stop := run(t, r)
		pass(time.Hour)
		if n := tries.Load(); n < 50 || n > 150 || taken(pub) != "" {
			t.Errorf("%d tries in an hour, taken: %s", n, taken(pub))
		}
		held := r.Status().Held
		if len(held) != 1 || held[0].Key != "a" || held[0].Seq != 1 || !errors.Is(held[0].Err, errMessage) {
			t.Fatalf("held: %+v", held)
		}
		if err := store.Done(t.Context(), []uint64{held[0].Seq}); err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Minute)
		if taken(pub) != "next" {
			t.Errorf("taken: %s", taken(pub))
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if held := r.Status().Held; len(held) > 0 {
			t.Errorf("held: %+v after the end", held)
		}
	})
}

// However many fail one by one, what is remembered of them and asked of the store is bounded.
func TestWhatIsHeldIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(outboxtest.Memory)
		var broken atomic.Bool
		broken.Store(true)
		pub := &outboxtest.Recorder{Fail: func(_ context.Context, topic string, m *driver.Message) error {
			if broken.Load() && topic == "bad" {
				return errMessage
			}
			return nil
		}}
		for i := range 1100 {
			store.Add(event("bad", fmt.Sprint("x", i), ""))
		}
		store.Add(event("good", "g", ""))
		r := outbox.New(store, pub, outbox.Config{Batch: 250})
		stop := run(t, r)
		most := 0
		for range 50 {
			pass(100 * time.Millisecond)
			most = max(most, len(r.Status().Held))
		}
		if most > 1000+1 || most < 1000 {
			t.Errorf("%d held", most)
		}
		if got := taken(pub); got != "g" {
			t.Errorf("taken: %s", got)
		}
		pass(20 * time.Second)
		if n := r.Status().Failed; n > 1100*10 {
			t.Errorf("%d attempts in 25 seconds", n)
		}
		broken.Store(false)
		for began := time.Now(); store.Left() > 0 && time.Since(began) < 10*time.Minute; {
			pass(time.Second)
		}
		if store.Left() > 0 {
			t.Errorf("%d left", store.Left())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A batch of nothing but messages at fault is passed by: what is behind it goes on.
func TestManyMessagesThatAreAtFault(t *testing.T) {
	for _, key := range []string{"", "key"} {
		t.Run("key "+key, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(outboxtest.Memory)
				pub := &outboxtest.Recorder{Fail: func(_ context.Context, _ string, m *driver.Message) error {
					if strings.HasPrefix(m.ID, "bad") {
						return errMessage
					}
					return nil
				}}
				for i := range 300 {
					k := key
					if k != "" {
						k += fmt.Sprint(i)
					}
					store.Add(event("t", fmt.Sprint("bad", i), k))
				}
				for i := range 100 {
					store.Add(event("t", fmt.Sprint("good", i), fmt.Sprint("other", i%3)))
				}
				r := outbox.New(store, pub, outbox.Config{Batch: 300})
				stop := run(t, r)
				pass(time.Second)
				if n := len(pub.Taken()); n != 100 {
					t.Errorf("%d good ones published in a second, want 100", n)
				}
				pass(20 * time.Second)
				if n := r.Status().Failed; n < 300*4 || n > 300*10 {
					t.Errorf("%d attempts in 20 seconds", n)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Each look passes over all that waits. While there is nothing else, and events are added all the time, it is done with pauses;
// what can be published does not wait long for it, and a topic is tried at its time.
func TestLooksWhileATopicIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(outboxtest.Memory)
		const took = 50 * time.Millisecond
		var looks atomic.Int64
		store.Fail = func(ctx context.Context, method string) error {
			if method == "Pending" {
				looks.Add(1)
				pass(took)
			}
			return nil
		}
		var away atomic.Bool
		away.Store(true)
		var tries atomic.Int64
		pub := &outboxtest.Recorder{Fail: func(_ context.Context, topic string, _ *driver.Message) error {
			if topic == "down" && away.Load() {
				tries.Add(1)
				return errEngine
			}
			return nil
		}}
		stop := run(t, outbox.New(store, pub, outbox.Config{Batch: 1}))
		for i := range 4_000 {
			store.Add(event("down", fmt.Sprint("d", i), "a"))
			pass(5 * time.Millisecond)
		}
		if n := looks.Load(); n > 20*1000/500+40 {
			t.Errorf("%d looks in 20 seconds", n)
		}
		if n := tries.Load(); n < 7 || n > 20 {
			t.Errorf("%d tries in 20 seconds", n)
		}
		store.Add(event("up", "u", ""))
		pass(10*took + 3*took)
		if got := taken(pub); got != "u" {
			t.Errorf("taken: %s", got)
		}
		began := time.Now()
		if err := stop(); err != nil || time.Since(began) > time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// A store that does not know its keys by the names that it gave returns what it should leave out: that is not tried without a pause.
func TestAStoreThatDoesNotLeaveOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(forgetful)
		var tries atomic.Int64
		pub := &outboxtest.Recorder{Fail: func(context.Context, string, *driver.Message) error {
			tries.Add(1)
			return errMessage
		}}
		store.Add(event("t", "bad", "a"))
		stop := run(t, outbox.New(store, pub, outbox.Config{}))
		pass(10 * time.Minute)
		if n := tries.Load(); n < 10 || n > 40 {
			t.Errorf("%d tries in ten minutes", n)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

type forgetful struct{ outboxtest.Memory }

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

type publisherFunc func(ctx context.Context, topic string, messages []*driver.Message) []error

func (f publisherFunc) PublishMessages(ctx context.Context, topic string, messages []*driver.Message) []error {
	return f(ctx, topic, messages)
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

func (c *cleaned) Clean(_ context.Context, limit int) (int, error) {
	n := min(c.old, limit)
	c.old -= n
	c.most = max(c.most, n)
	return n, nil
}
