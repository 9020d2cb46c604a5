package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/outbox"
	"github.com/holdfast-go/holdfast/queue/outbox/outboxtest"
)

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
		if got := taken(pub); strings.Replace(got, " n1", "", 1) != "a0 b0 n2 b1 a1 a2 a3" || strings.Index(got, "n1") < strings.Index(got, "b1") {
			t.Errorf("taken at the end: %s", got) // n1 has no key, and comes when it comes
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
