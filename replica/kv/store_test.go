package kv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica"
)

// alone is a group of one that has no log.
type alone struct {
	mu       sync.Mutex
	machine  *Machine
	follower bool
	skew     time.Duration // of the log's time against the wall clock
	pace     float64       // of the log's time; 0: 1
	begun    time.Time     // with pace
	proposed int
	ended    chan struct{}
}

func (a *alone) Propose(_ context.Context, command []byte, _ ...replica.ProposeOption) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.proposed++
	now := time.Now()
	if a.pace != 0 {
		now = a.begun.Add(time.Duration(a.pace * float64(now.Sub(a.begun))))
	}
	return a.machine.Apply(replica.Entry{Index: uint64(a.proposed), Time: now.Add(a.skew), Command: command}) //nolint:gosec // not negative
}

func (a *alone) Read(ctx context.Context, _ replica.Level, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return fn()
}

func (a *alone) Leader() (string, bool) { return "other", !a.follower }

func (a *alone) Done() <-chan struct{} { return a.ended }

func (a *alone) Err() error { return replica.ErrStopped }

func newStore(cfg Config) (*Store, *alone) {
	g := &alone{machine: NewMachine(cfg)}
	return &Store{name: "test", cfg: cfg.defaults(), group: g, machine: g.machine}, g
}

func TestAStoreFromEndToEnd(t *testing.T) {
	s, _ := newStore(Config{})
	ctx := t.Context()
	first, err := s.Put(ctx, "a", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CompareAndSwap(ctx, "a", first+1, []byte("x")); !errors.Is(err, ErrConflict) {
		t.Errorf("swap on another revision: %v", err)
	}
	second, err := s.CompareAndSwap(ctx, "a", first, []byte("2"))
	if err != nil || second != first+1 {
		t.Errorf("swap: revision %d, %v", second, err)
	}
	item, ok, err := s.Get(ctx, replica.Linearizable, "a")
	if err != nil || !ok || string(item.Value) != "2" || item.Version != 2 {
		t.Errorf("%+v, %v, %v", item, ok, err)
	}
	r, err := s.Do(ctx, Txn{If: []Compare{Revision("a", Equal, second)}, Then: []Op{PutOp("b", []byte("3"), 0), GetOp("a")}})
	if err != nil || !r.Succeeded || len(r.Before) != 2 || r.Before[0] != nil || string(r.Before[1].Value) != "2" {
		t.Errorf("%+v, %v", r, err)
	}
	v, err := s.View(ctx, replica.Linearizable)
	if err != nil || keys(v, "") != "a=2 b=3" {
		t.Errorf("%v, %v", v, err)
	}
	if _, existed, err := s.Delete(ctx, "a", IfRevision(first)); !errors.Is(err, ErrConflict) {
		t.Errorf("delete of another revision: %v, %v", existed, err)
	}
	if at, existed, err := s.Delete(ctx, "a"); err != nil || !existed || at != r.Revision+1 {
		t.Errorf("delete: %d, %v, %v", at, existed, err)
	}
	if _, ok, err := s.Get(ctx, replica.Eventual, "a"); ok || err != nil {
		t.Errorf("get after delete: %v, %v", ok, err)
	}
	if _, _, err := s.Get(canceled(), replica.Linearizable, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("get with a context that has ended: %v", err)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestWhatTheMachineWouldRefuseIsNotProposed(t *testing.T) {
	s, g := newStore(Config{MaxBytes: 100})
	ctx := t.Context()
	many := make([]Op, maxOperations+1)
	for i := range many {
		many[i] = GetOp("a")
	}
	for name, call := range map[string]func() error{
		"empty key":     func() error { _, err := s.Put(ctx, "", nil); return err },
		"long key":      func() error { _, _, err := s.Delete(ctx, strings.Repeat("k", MaxKeyBytes+1)); return err },
		"negative TTL":  func() error { _, err := s.Put(ctx, "a", nil, TTL(-1)); return err },
		"too many":      func() error { _, err := s.Do(ctx, Txn{Then: many}); return err },
		"zero compare":  func() error { _, err := s.Do(ctx, Txn{If: []Compare{{}}}); return err },
		"zero op":       func() error { _, err := s.Do(ctx, Txn{Else: []Op{{}}}); return err },
		"negative TTL2": func() error { _, err := s.Do(ctx, Txn{Else: []Op{PutOp("a", nil, -1)}}); return err },
	} {
		if err := call(); failure.CodeOf(err) != failure.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Put(ctx, "a", make([]byte, 100)); !errors.Is(err, ErrFull) {
		t.Errorf("put of too much: %v", err)
	}
	if _, err := s.Do(ctx, Txn{Then: []Op{PutOp("a", make([]byte, 50), 0), PutOp("b", make([]byte, 50), 0)}}); !errors.Is(err, ErrFull) {
		t.Errorf("transaction of too much: %v", err)
	}
	if g.proposed != 0 {
		t.Errorf("%d were proposed", g.proposed)
	}
}

func TestAFullStoreTakesWhatDoesNotMakeItLarger(t *testing.T) {
	s, _ := newStore(Config{MaxBytes: 100})
	ctx := t.Context()
	put := func(key string, size int, opts ...WriteOption) error {
		_, err := s.Put(ctx, key, make([]byte, size), opts...)
		return err
	}
	do := func(txn Txn) error {
		_, err := s.Do(ctx, txn)
		return err
	}
	value := func(size int) []byte { return make([]byte, size) }
	if err := errors.Join(put("a", 49), put("b", 49)); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"renewed": func() error { return put("a", 49, TTL(time.Hour)) },
		"the larger": func() error {
			return do(Txn{Then: []Op{PutOp("a", value(48), 0), PutOp("a", value(49), 0)}, Else: []Op{PutOp("b", value(49), 0)}})
		},
		"in place of another": func() error {
			return do(Txn{Then: []Op{DeleteOp("b"), DeleteOp("none"), GetOp("a"), PutOp("c", value(49), 0), DeleteOp("c"), PutOp("b", value(49), 0)}})
		},
	} {
		if err := call(); err != nil || s.Stats().Bytes != 100 {
			t.Errorf("%s: %v, %+v", name, err, s.Stats())
		}
	}
	for name, call := range map[string]func() error{
		"one byte more": func() error { return put("a", 50) },
		"a new key":     func() error { return put("c", 0) },
		"else":          func() error { return do(Txn{Then: []Op{DeleteOp("a")}, Else: []Op{PutOp("b", value(50), 0)}}) },
		"put twice":     func() error { return do(Txn{Then: []Op{PutOp("a", value(10), 0), PutOp("a", value(50), 0)}}) },
	} {
		if err := call(); !errors.Is(err, ErrFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Over the bound, as after several puts at once, it can still be made smaller.
	s.cfg.MaxBytes = 50
	if err := errors.Join(put("a", 48), do(Txn{Then: []Op{PutOp("b", value(48), 0)}})); err != nil || s.Stats().Bytes != 98 {
		t.Errorf("%v, %+v", err, s.Stats())
	}
}

func TestKeysEndThoughNobodyWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, g := newStore(Config{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		if _, err := s.Put(ctx, "a", nil, TTL(time.Second)); err != nil {
			t.Error(err)
		}
		w := s.Watch("", 1)
		begun := time.Now()
		events, err := w.Next(ctx)
		took := time.Since(begun)
		if err != nil || len(events) != 1 || events[0].Type != Expire || took < time.Second || took > time.Second+DefaultExpiryInterval {
			t.Errorf("%v, %v after %v", events, err, took)
		}
		<-time.After(time.Minute)
		if g.proposed != 2 {
			t.Errorf("%d commands for one put and one end", g.proposed)
		}
		// A follower waits for the leader to do it, but not for ever.
		g.mu.Lock()
		g.follower = true
		g.mu.Unlock()
		if _, err := s.Put(ctx, "b", nil, TTL(time.Second)); err != nil {
			t.Error(err)
		}
		begun = time.Now()
		events, err = w.Next(ctx)
		if err == nil {
			events, err = w.Next(ctx)
		}
		if took = time.Since(begun); err != nil || len(events) != 1 || events[0].Type != Expire || took < 3*time.Second || took > 4*time.Second {
			t.Errorf("%v, %v after %v", events, err, took)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestKeysEndInTimeThoughTheWallClockIsNotThatOfTheLog(t *testing.T) {
	for name, c := range map[string]struct {
		skew     time.Duration
		pace     float64
		follower bool
		want     time.Duration
	}{
		"right":                 {0, 1, false, time.Minute},
		"ahead":                 {2 * time.Hour, 1, false, time.Minute},
		"ahead, and slow":       {2 * time.Hour, 0.9, false, 66700 * time.Millisecond},
		"behind":                {-2 * time.Hour, 1, false, time.Minute},
		"behind, and fast":      {-2 * time.Hour, 1.1, false, 54500 * time.Millisecond},
		"ahead, on a follower":  {2 * time.Hour, 1, true, 62 * time.Second},
		"behind, on a follower": {-2 * time.Hour, 1, true, 62 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, g := newStore(Config{})
				g.skew, g.pace, g.follower, g.begun = c.skew, c.pace, c.follower, time.Now()
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- s.Run(ctx) }()
				begun := time.Now()
				if _, err := s.Put(ctx, "a", nil, TTL(time.Minute)); err != nil {
					t.Error(err)
				}
				events, err := s.Watch("", 1).Next(ctx)
				took := time.Since(begun)
				if err != nil || len(events) != 1 || events[0].Type != Expire || took < c.want || took > c.want+2*DefaultExpiryInterval {
					t.Errorf("%v, %v after %v, want it after %v", events, err, took, c.want)
				}
				if g.proposed > 7 {
					t.Errorf("%d commands for one put and one end", g.proposed)
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestKeysWhoseTimeWasOverWhileAllWereDownEndAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, g := newStore(Config{})
		g.skew = -2 * time.Hour // the put was that long ago
		if _, err := s.Put(t.Context(), "a", nil, TTL(time.Hour)); err != nil {
			t.Error(err)
		}
		g.skew = 0
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		begun := time.Now()
		go func() { done <- s.Run(ctx) }()
		if _, err := s.Watch("", 1).Next(ctx); err != nil || time.Since(begun) > DefaultExpiryInterval {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestFollowersHaveWhatTheStoreHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newStore(Config{HistoryEvents: 4})
		ctx, cancel := context.WithCancel(t.Context())
		put := func(key, value string) {
			if _, err := s.Put(ctx, key, []byte(value)); err != nil {
				t.Error(err)
			}
		}
		put("a/1", "1")
		put("b/1", "1")
		copied := map[string]string{}
		resets := 0
		done := make(chan struct{})
		slow := make(chan struct{})
		go func() {
			defer close(done)
			for change, err := range s.Follow(ctx, replica.Linearizable, "a/") {
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
					return
				}
				if change.Reset {
					clear(copied)
					resets++
				}
				for _, item := range change.Items {
					copied[item.Key] = string(item.Value)
				}
				for _, e := range change.Events {
					if e.Type == Put {
						copied[e.Item.Key] = string(e.Item.Value)
					} else {
						delete(copied, e.Item.Key)
					}
				}
				<-slow
			}
		}()
		check := func(want string, wantResets int) {
			t.Helper()
			synctest.Wait()
			if got := fmt.Sprint(copied); got != want || resets != wantResets {
				t.Errorf("the copy has %s after %d resets, want %s after %d", got, resets, want, wantResets)
			}
		}
		check("map[a/1:1]", 1)
		slow <- struct{}{}
		put("a/2", "2")
		check("map[a/1:1 a/2:2]", 1)
		for i := range 10 { // more than is kept, while the consumer is busy
			put("a/3", fmt.Sprint(i))
		}
		if _, _, err := s.Delete(ctx, "a/1"); err != nil {
			t.Error(err)
		}
		slow <- struct{}{}
		check("map[a/2:2 a/3:9]", 2)
		cancel()
		close(slow)
		<-done
	})
}

func TestAWatchEndsWithItsMemberAndMissesNothing(t *testing.T) {
	for range 100 { // what comes first is left to chance
		s, g := newStore(Config{})
		g.ended = make(chan struct{})
		w := s.Watch("", 0)
		go func() {
			if _, err := s.Put(t.Context(), "a", nil); err != nil {
				t.Error(err)
			}
			close(g.ended)
		}()
		if events, err := w.Next(t.Context()); err != nil || len(events) != 1 {
			t.Fatalf("%v, %v", events, err)
		}
		if events, err := w.Next(t.Context()); !errors.Is(err, replica.ErrStopped) {
			t.Fatalf("%v, %v", events, err)
		}
	}
}

func TestFollowersAreToldThatTheirMemberHasFailedOrStopped(t *testing.T) {
	host, err := replica.NewHost(replica.Config{Name: "a", Dir: t.TempDir(), Members: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	running, stop := context.WithCancel(ctx)
	defer stop()
	end := map[string]func(s *Store){
		// A command of a version that this member does not know panics.
		"fails": func(s *Store) { _, _ = s.group.Propose(ctx, []byte{commandVersion + 1}) },
		"stops": func(*Store) { stop() },
	}
	want := map[string]error{"fails": replica.ErrFailed, "stops": replica.ErrStopped}
	done := make(chan error, 1)
	for _, name := range []string{"fails", "stops"} {
		s, err := New(host, name, Config{})
		if err != nil {
			t.Fatal(err)
		}
		if name == "fails" {
			go func() { done <- host.Run(running) }()
		}
		first := true
		for _, err = range s.Follow(ctx, replica.Linearizable, "") {
			if first {
				first = false
				go end[name](s)
			}
		}
		if !errors.Is(err, want[name]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Readers, watchers and snapshots run beside the commands.
func TestConcurrentUse(t *testing.T) {
	s, _ := newStore(Config{HistoryEvents: 10})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 500 {
				if _, err := s.Put(ctx, fmt.Sprint(i, n%7), []byte("x"), TTL(time.Duration(n%3)*time.Microsecond)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for ctx.Err() == nil {
				last := ""
				v := s.machine.View()
				n := 0
				for item := range v.Prefix("") {
					if n++; item.Key <= last || item.Revision > v.Revision() {
						t.Errorf("%v after %q in a view of %d", item, last, v.Revision())
					}
					last = item.Key
				}
				if n != v.Len() {
					t.Errorf("%d keys of %d", n, v.Len())
				}
			}
		})
		readers.Go(func() {
			w := s.Watch("", 0)
			for {
				last := w.Revision()
				events, err := w.Next(ctx)
				switch {
				case isCompacted(err):
					w = s.Watch("", s.Stats().Revision)
				case err != nil:
					return
				case events[0].Revision() <= last:
					t.Errorf("revision %d after %d", events[0].Revision(), last)
				}
			}
		})
	}
	wg.Wait()
	cancel()
	readers.Wait()
}
