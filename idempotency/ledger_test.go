package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/idempotency"
)

// broken is a store with faults.
type broken struct {
	idempotency.Store
	down  atomic.Bool  // every access fails
	mad   atomic.Bool  // the next access panics
	lossy atomic.Int64 // so many accesses are made, but fail for who made them
	swaps atomic.Int64
	hangs chan struct{} // not nil: takes one for each renewal, which hangs until its context is done
}

func (b *broken) Swap(ctx context.Context, id idempotency.ID, version uint64, data []byte, ttl time.Duration) (idempotency.Entry, bool, error) {
	b.swaps.Add(1)
	if b.mad.Swap(false) {
		panic("a bug of the store")
	}
	if b.hangs != nil && version != 0 && ttl == hangingLease {
		_, _, _ = b.Store.Swap(ctx, id, version, data, ttl) // its answer does not come
		b.hangs <- struct{}{}
		<-ctx.Done()
		return idempotency.Entry{}, false, ctx.Err()
	}
	if b.down.Load() {
		return idempotency.Entry{}, false, errors.New("store down")
	}
	e, ok, err := b.Store.Swap(ctx, id, version, data, ttl)
	if b.lossy.Add(-1) >= 0 {
		return idempotency.Entry{}, false, errors.New("answer lost")
	}
	return e, ok, err
}

const hangingLease = time.Second

// world is a store, and any number of processes that share it.
type world struct{ store *broken }

func newWorld() *world { return &world{store: &broken{Store: new(idempotency.Memory)}} }

func (w *world) process() *idempotency.Ledger {
	return idempotency.New(w.store, idempotency.Config{Logger: slog.New(slog.DiscardHandler)})
}

func bubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newWorld()) })
}

var (
	key   = idempotency.Key{Method: "/shop.Orders/Place", Caller: "ann", Key: "order-1"}
	print = idempotency.FingerprintOf([]byte("two mugs"))
	other = idempotency.FingerprintOf([]byte("three mugs"))
)

func begin(t *testing.T, l *idempotency.Ledger, print idempotency.Fingerprint) *idempotency.Claim {
	t.Helper()
	c, err := l.Begin(t.Context(), key, print)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func finish(t *testing.T, c *idempotency.Claim, result string) {
	t.Helper()
	if _, ok := c.Replayed(); ok {
		t.Fatal("it has been answered before")
	}
	if err := c.Finish(t.Context(), []byte(result)); err != nil {
		t.Fatal(err)
	}
}

func replayed(t *testing.T, c *idempotency.Claim, want string) {
	t.Helper()
	if got, ok := c.Replayed(); !ok || string(got) != want {
		t.Fatalf("%q, %v; want %q", got, ok, want)
	}
}

func TestARepetitionGetsTheAnswerOfTheFirst(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.process(), w.process()
		finish(t, begin(t, a, print), "order 17")
		for _, l := range []*idempotency.Ledger{a, b} {
			c := begin(t, l, print)
			replayed(t, c, "order 17")
			if err := c.Finish(t.Context(), []byte("order 18")); err != nil { // changes nothing
				t.Fatal(err)
			}
			c.Release(t.Context()) // nor does this
		}
		replayed(t, begin(t, b, print), "order 17")
		<-time.After(idempotency.DefaultKeep + time.Minute)
		finish(t, begin(t, b, print), "order 18")
	})
}

func TestAKeyIsForOneRequest(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.process(), w.process()
		c := begin(t, a, print)
		refused := func(l *idempotency.Ledger) {
			t.Helper()
			_, err := l.Begin(t.Context(), key, other)
			if !errors.Is(err, idempotency.ErrReused) || failure.CodeOf(err) != failure.InvalidArgument {
				t.Fatal(err)
			}
		}
		refused(a)
		refused(b)
		finish(t, c, "order 17")
		refused(a)
		refused(b)
		replayed(t, begin(t, b, idempotency.Fingerprint{}), "order 17") // one that cannot be told from others
	})
}

func TestKeysOfOthersAreOtherKeys(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		l := w.process()
		finish(t, begin(t, l, print), "order 17")
		for _, k := range []idempotency.Key{{key.Method, "bob", key.Key}, {"/shop.Orders/Cancel", key.Caller, key.Key}, {key.Method, key.Caller, "order-2"}} {
			c, err := l.Begin(t.Context(), k, other)
			if err != nil {
				t.Fatal(err)
			}
			finish(t, c, "another")
		}
	})
}

func TestAKeyThatIsNone(t *testing.T) {
	for _, k := range []string{"", "a\nb", "ä", fmt.Sprintf("%257d", 1)} {
		_, err := newWorld().process().Begin(t.Context(), idempotency.Key{Key: k}, print)
		if !errors.Is(err, idempotency.ErrKey) {
			t.Errorf("%q: %v", k, err)
		}
	}
}

// A hundred at once, in two processes: one runs, all get its answer.
func TestOfManyAtOnceOneRuns(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		processes := []*idempotency.Ledger{w.process(), w.process()}
		var ran atomic.Int64
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				c, err := processes[i%2].Begin(t.Context(), key, print)
				if err != nil {
					t.Error(err)
					return
				}
				if result, ok := c.Replayed(); ok {
					if string(result) != "order 17" {
						t.Errorf("%q", result)
					}
					return
				}
				ran.Add(1)
				<-time.After(time.Second)
				_ = c.Finish(t.Context(), []byte("order 17"))
			})
		}
		wg.Wait()
		if n := ran.Load(); n != 1 {
			t.Errorf("%d ran", n)
		}
		if n := w.store.swaps.Load(); n > 60 {
			t.Errorf("the store was asked %d times for a run of a second", n)
		}
	})
}

func TestARepetitionGivesUpInTimeToSaySo(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.process(), w.process()
		c := begin(t, a, print)
		for _, l := range []*idempotency.Ledger{a, b} {
			for limit, most := range map[time.Duration]time.Duration{time.Second: time.Second, time.Hour: idempotency.DefaultMaxWait} {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				begun := time.Now()
				_, err := l.Begin(ctx, key, print)
				e := failure.From(err)
				if !errors.Is(err, idempotency.ErrUnderWay) || e.Code != failure.Aborted || e.RetryAfter <= 0 || ctx.Err() != nil {
					t.Errorf("%v: %v", limit, err)
				}
				if took := time.Since(begun); took > most || took < most*9/10 {
					t.Errorf("%v: it waited for %v", limit, took)
				}
				cancel()
			}
		}
		finish(t, c, "order 17")
	})
}

func TestARepetitionMayNotWait(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, cfg := range []idempotency.Config{{MaxWait: -1}, {MaxWaiting: 1}} {
			cfg.Lease = 2 * time.Second
			l := idempotency.New(w.store, cfg)
			c := begin(t, l, print)
			if cfg.MaxWaiting == 1 {
				go func() { _, _ = l.Begin(t.Context(), key, print) }()
				synctest.Wait()
			}
			begun := time.Now()
			if _, err := l.Begin(t.Context(), key, print); !errors.Is(err, idempotency.ErrUnderWay) {
				t.Error(err)
			}
			if took := time.Since(begun); took != 0 {
				t.Errorf("it waited for %v", took)
			}
			c.Release(t.Context())
			<-time.After(time.Minute) // the one that waited has begun, and died
		}
	})
}

func TestOneWhoseCallerLeavesDoesNotWait(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		l := w.process()
		c := begin(t, l, print)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		begun := time.Now()
		if _, err := l.Begin(ctx, key, print); failure.CodeOf(err) != failure.Canceled || time.Since(begun) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		finish(t, c, "order 17")
	})
}

func TestWhenTheFirstFailsTheNextRuns(t *testing.T) {
	for _, here := range []bool{true, false} {
		bubble(t, func(t *testing.T, w *world) {
			a := w.process()
			b := a
			if !here {
				b = w.process()
			}
			c := begin(t, a, print)
			time.AfterFunc(time.Second, func() { c.Release(context.Background()) })
			begun := time.Now()
			next := begin(t, b, print)
			if took := time.Since(begun); took < time.Second || took > 1300*time.Millisecond {
				t.Errorf("it began after %v", took)
			}
			finish(t, next, "order 17")
			replayed(t, begin(t, a, print), "order 17")
		})
	}
}

// A process that dies leaves a lease, which ends; one that lives keeps it, however long it takes.
func TestAfterACrashTheLeaseHasToEnd(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		cut := &world{&broken{Store: w.store}} // the way to the store of the one that dies
		a, b := cut.process(), w.process()
		dead := begin(t, a, print)
		<-time.After(time.Minute) // it renews
		if _, err := b.Begin(t.Context(), key, print); !errors.Is(err, idempotency.ErrUnderWay) {
			t.Fatalf("the lease of one that lives ended: %v", err)
		}
		cut.store.down.Store(true) // what a crash is like, seen from the store
		begun := time.Now()
		finish(t, begin(t, b, print), "order 17")
		if took := time.Since(begun); took > idempotency.DefaultLease+time.Second/2 || took < idempotency.DefaultLease/2 {
			t.Errorf("its successor began after %v", took)
		}
		cut.store.down.Store(false)
		<-time.After(time.Minute)
		if err := dead.Finish(t.Context(), []byte("order 18")); !errors.Is(err, idempotency.ErrLost) {
			t.Errorf("one that was thought dead: %v", err)
		}
		replayed(t, begin(t, a, print), "order 17")
	})
}

// A lease that ended while the store was away is taken again if nobody has begun since.
func TestALeaseThatNobodyElseTookIsTakenAgain(t *testing.T) {
	for _, renewed := range []bool{true, false} {
		bubble(t, func(t *testing.T, w *world) {
			a, b := w.process(), w.process()
			c := begin(t, a, print)
			w.store.down.Store(true)
			<-time.After(time.Minute + time.Millisecond)
			w.store.down.Store(false)
			if renewed {
				<-time.After(idempotency.DefaultLease / 5)
				if _, err := b.Begin(t.Context(), key, print); !errors.Is(err, idempotency.ErrUnderWay) {
					t.Fatal(err)
				}
			}
			finish(t, c, "order 17")
			replayed(t, begin(t, b, print), "order 17")
		})
	}
}

func TestWithoutTheStoreNothingRuns(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		l := w.process()
		w.store.down.Store(true)
		if _, err := l.Begin(t.Context(), key, print); failure.CodeOf(err) != failure.Unavailable {
			t.Fatal(err)
		}
		w.store.down.Store(false)
		c := begin(t, l, print) // nothing is left behind
		w.store.down.Store(true)
		if err := c.Finish(t.Context(), []byte("order 17")); failure.CodeOf(err) != failure.Unavailable {
			t.Fatal(err)
		}
		w.store.down.Store(false)
		<-time.After(idempotency.DefaultLease)
		c = begin(t, l, print)
		w.store.mad.Store(true)
		<-time.After(idempotency.DefaultLease) // a renewal, in a goroutine of its own, and those after it
		if w.store.mad.Load() {
			t.Error("nothing was renewed")
		}
		finish(t, c, "order 18") // what the documentation warns of
	})
}

// A store that panics fails one request, and leaves nothing behind that the next one would wait for.
func TestAStoreThatPanicsLeavesNothingBehind(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		l := w.process()
		mad := func(what string, access func()) {
			w.store.mad.Store(true)
			defer func() {
				if recover() == nil {
					t.Errorf("%s: the panic went nowhere", what)
				}
			}()
			access()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*idempotency.DefaultLease)
		defer cancel()
		mad("begin", func() { _, _ = l.Begin(ctx, key, print) })
		c := begin(t, l, print)
		mad("release", func() { c.Release(ctx) })
		<-time.After(idempotency.DefaultLease)
		c = begin(t, l, print)
		mad("finish", func() { _ = c.Finish(ctx, []byte("order 17")) })
		<-time.After(idempotency.DefaultLease)
		c = begin(t, l, print)
		w.store.mad.Store(true)
		<-time.After(idempotency.DefaultLease) // a renewal, in a goroutine of its own, and those after it
		if w.store.mad.Load() {
			t.Error("nothing was renewed")
		}
		finish(t, c, "order 18") // what the documentation warns of
	})
}

// An access that was made although it failed is not taken for somebody else's.
func TestAnAnswerOfTheStoreThatIsLost(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		l := w.process()
		w.store.lossy.Store(1)
		begun := time.Now()
		c := begin(t, l, print)
		if took := time.Since(begun); took != 0 {
			t.Errorf("its own record was in its way for %v", took)
		}
		w.store.lossy.Store(1)
		<-time.After(idempotency.DefaultLease / 4) // a renewal is lost, and the next one finds that it was made
		<-time.After(idempotency.DefaultLease * 2)
		w.store.lossy.Store(1)
		finish(t, c, "order 17")
		replayed(t, begin(t, w.process(), print), "order 17")
	})
}

// While a renewal hangs, nobody waits for it: neither a repetition, nor who has the answer. In real time, since those
// who would wait for a mutex keep virtual time from passing.
func TestARenewalThatHangsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	const soon = 2 * time.Second
	for _, ends := range []string{"finished", "released"} {
		t.Run(ends, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.store.hangs = make(chan struct{}, 8)
			l := idempotency.New(w.store, idempotency.Config{
				Logger: slog.New(slog.DiscardHandler), Lease: hangingLease, StoreTimeout: 3 * soon, MaxWait: hangingLease / 20,
			})
			c := begin(t, l, print)
			<-w.store.hangs
			start := time.Now()
			if _, err := l.Begin(t.Context(), key, print); !errors.Is(err, idempotency.ErrUnderWay) {
				t.Error(err)
			}
			if _, err := l.Begin(t.Context(), key, other); !errors.Is(err, idempotency.ErrReused) {
				t.Error(err)
			}
			another := idempotency.New(w.store, idempotency.Config{MaxWait: -1})
			if ends == "finished" {
				finish(t, c, "order 17")
				replayed(t, begin(t, another, print), "order 17")
			} else {
				c.Release(t.Context())
				finish(t, begin(t, another, print), "order 18") // although the renewal was made
			}
			if took := time.Since(start); took > soon {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestAnAnswerThatIsTooLargeIsNotKept(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		l := w.process()
		if err := begin(t, l, print).Finish(t.Context(), make([]byte, l.MaxResult()+1)); err != nil {
			t.Fatal(err)
		}
		for _, l := range []*idempotency.Ledger{l, w.process()} {
			if _, err := l.Begin(t.Context(), key, print); !errors.Is(err, idempotency.ErrNotKept) {
				t.Error(err)
			}
			if _, err := l.Begin(t.Context(), key, other); !errors.Is(err, idempotency.ErrReused) {
				t.Error(err)
			}
		}
	})
}

func TestARecordThatCannotBeRead(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		if _, _, err := w.store.Swap(t.Context(), key.ID(), 0, []byte("garbage"), time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := w.process().Begin(t.Context(), key, print); failure.CodeOf(err) != failure.DataLoss {
			t.Error(err)
		}
	})
}

func TestConfig(t *testing.T) {
	if err := (idempotency.Config{}).Validate(); err != nil {
		t.Error(err)
	}
	if err := (idempotency.Config{Keep: -1, Lease: time.Millisecond, MaxResult: -1, MaxWaiting: -1}).Validate(); err == nil ||
		len(err.(interface{ Unwrap() []error }).Unwrap()) != 4 {
		t.Error(err)
	}
}

func TestFinalFailures(t *testing.T) {
	for code, want := range map[failure.Code]bool{
		failure.OK: true, failure.FailedPrecondition: true, failure.NotFound: true, failure.InvalidArgument: true,
		failure.Unavailable: false, failure.Aborted: false, failure.Internal: false, failure.DeadlineExceeded: false,
		failure.ResourceExhausted: false, failure.Unauthenticated: false, failure.Canceled: false,
	} {
		if got := idempotency.Final(code); got != want {
			t.Errorf("%v: %v", code, got)
		}
	}
}
