package replicalock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/lock/driver"
	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/replica/kv"
)

// fixture is a store of one member and a driver on it.
type fixture struct {
	t     *testing.T
	store *kv.Store
	*Driver
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	store := startServer(t, 1).now(0)
	f := &fixture{t: t, store: store, Driver: on(store, "")}
	f.settle()
	return f
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) settle() {
	f.t.Helper()
	epoch, err := f.Epoch(f.t.Context())
	f.must(err)
	f.must(f.Settle(f.t.Context(), epoch.ID))
}

func (f *fixture) open() driver.Session {
	f.t.Helper()
	s, err := f.Open(f.t.Context(), time.Hour, "")
	f.must(err)
	return s
}

// later makes it so much later for all that was seen.
func (f *fixture) later(by time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, s := range f.sessions {
		s.since = s.since.Add(-by)
		f.sessions[key] = s
	}
	f.swept = f.swept.Add(-by)
}

// keys returns what is in the store, but for the tokens and the epoch.
func (f *fixture) keys() (keys []string) {
	f.t.Helper()
	v, err := f.store.View(f.t.Context(), replica.Linearizable)
	f.must(err)
	for item := range v.Prefix("") {
		if !item.Expires.IsZero() {
			f.t.Errorf("%s ends by the leader's clock", item.Key)
		}
		if kind := strings.TrimPrefix(item.Key, f.prefix); !strings.HasPrefix(kind, "token/") && kind != "epoch" && kind != "settled" {
			keys = append(keys, kind)
		}
	}
	return keys
}

// TestDeadWaiters: sessions before a ticket that ended at once are ended at once, and not one TTL after the other.
func TestDeadWaiters(t *testing.T) {
	for name, wait := range map[string]bool{"Wait": true, "Claim": false} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			ctx := t.Context()
			for range 5 {
				f.must(f.open().Enter(ctx, "l", "t", ""))
			}
			s := f.open()
			f.must(s.Enter(ctx, "l", "t", ""))
			if _, err := s.Claim(ctx, "l", "t", 1); !errors.Is(err, driver.ErrNotFirst) {
				t.Fatalf("Claim behind others = %v", err)
			}
			f.later(59 * time.Minute)
			if _, err := s.Claim(ctx, "l", "t", 1); !errors.Is(err, driver.ErrNotFirst) {
				t.Fatalf("Claim before the others' time is up = %v", err)
			}
			f.must(s.Renew(ctx))
			f.later(time.Minute)
			if wait {
				ctx, cancel := context.WithTimeout(ctx, time.Minute)
				defer cancel()
				f.must(s.Wait(ctx, "l", "t"))
			}
			if _, err := s.Claim(ctx, "l", "t", 1); err != nil {
				t.Errorf("Claim a TTL after the others' last renewal = %v", err)
			}
		})
	}
}

// TestNothingStays: whatever a session leaves, and however it ended, goes.
func TestNothingStays(t *testing.T) {
	for name, end := range map[string]func(*fixture, driver.Session){
		"ended":   func(f *fixture, s driver.Session) { f.must(s.End(f.t.Context())) },
		"expired": func(f *fixture, s driver.Session) { f.later(time.Hour) },
		"ended by hand": func(f *fixture, s driver.Session) {
			_, _, err := f.store.Delete(f.t.Context(), f.session(s.ID()))
			f.must(err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			ctx := t.Context()
			other, s := f.open(), f.open()
			f.must(other.Renew(ctx)) // sees s
			var put []kv.Op
			for i := range 100 {
				put = append(put, kv.PutOp(s.(*session).key(fmt.Sprint("lock-", i), "t"), nil, 0))
			}
			put = append(put, kv.PutOp(f.guard(s.ID()), nil, 0))
			_, err := f.store.Do(ctx, kv.Txn{Then: put})
			f.must(err)
			_, err = s.Claim(ctx, "lock-7", "t", 1)
			f.must(err)
			end(f, s)
			if name != "ended" {
				_, err := f.store.Do(ctx, kv.Txn{Then: []kv.Op{kv.PutOp(f.session(other.ID()), []byte("1h"), 0)}})
				f.must(err) // as a renewal, without which it would end itself
				f.later(time.Hour - time.Second)
				f.swept = time.Time{}
				f.must(other.Renew(ctx))
			}
			if got := f.keys(); !slices.Equal(got, []string{"session/" + other.ID()}) {
				t.Errorf("%d keys are left: %.5q", len(got), got)
			}
		})
	}
}

// TestClaimTakesDeadTicketsAway: with a claim go the places of sessions that have ended.
func TestClaimTakesDeadTicketsAway(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	dead, s := f.open(), f.open()
	f.must(dead.Enter(ctx, "l", "t", ""))
	f.must(s.Enter(ctx, "l", "t", ""))
	_, _, err := f.store.Delete(ctx, f.session(dead.ID()))
	f.must(err)
	_, err = s.Claim(ctx, "l", "t", 1)
	f.must(err)
	want := []string{"holder/l", "locks/l/" + s.ID() + "-t", "session/" + s.ID()}
	if got := f.keys(); !slices.Equal(got, want) {
		t.Errorf("there are %q", got)
	}
}
