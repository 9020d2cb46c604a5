// Package idempotencytest is the suite that every implementation of idempotency.Store must pass.
package idempotencytest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/idempotency"
)

// Config says how a store is tested.
type Config struct {
	// Open returns a store, and another one on the same records, as another process would open it; both may be the same.
	Open func(t *testing.T) (a, b idempotency.Store)
	// Around runs each test, such as synctest.Test does. nil: they are run as they are.
	Around func(t *testing.T, test func(*testing.T))
	// TTL is short, but not too short for the store: a record lasts for TTL, less a tenth by a clock that is fast, and is gone
	// after Late more.
	TTL, Late time.Duration
}

// lasts reports whether a record that was made after begun must still be there.
func (c Config) lasts(begun time.Time) bool { return time.Since(begun) < c.TTL*9/10 }

// Run runs the suite.
func Run(t *testing.T, cfg Config) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, Config)
	}{
		{"ARecordIsMadeOnce", madeOnce},
		{"ARecordIsReplacedByWhoKnowsItsVersion", replaced},
		{"ARecordIsRemovedByWhoKnowsItsVersion", removed},
		{"VersionsGrowAndAreNotUsedAgain", versionsGrow},
		{"DataIsKeptAsItIs", dataIsKept},
		{"OfManyOneMakesTheRecord", oneOfMany},
		{"OfManyOneReplacesTheRecord", oneReplaces},
		{"ARecordEnds", recordEnds},
		{"AReplacedRecordLastsForItsOwnTime", replacedLasts},
		{"ACallEndsWithItsContext", callEnds},
	} {
		t.Run(c.name, func(t *testing.T) {
			if cfg.Around == nil {
				c.test(t, cfg)
				return
			}
			cfg.Around(t, func(t *testing.T) { c.test(t, cfg) })
		})
	}
}

// newID is different each time, so that a store may be shared.
func newID(t *testing.T) idempotency.ID {
	return idempotency.Key{Method: t.Name(), Key: fmt.Sprint(time.Now().UnixNano())}.ID()
}

func swap(t *testing.T, s idempotency.Store, id idempotency.ID, version uint64, data string, ttl time.Duration) (idempotency.Entry, bool) {
	t.Helper()
	var value []byte
	if data != "" {
		value = []byte(data)
	}
	e, ok, err := s.Swap(t.Context(), id, version, value, ttl)
	if err != nil {
		t.Fatalf("swap %d, %q: %v", version, data, err)
	}
	return e, ok
}

func madeOnce(t *testing.T, cfg Config) {
	a, b := cfg.Open(t)
	id := newID(t)
	first, ok := swap(t, a, id, 0, "first", time.Hour)
	if !ok || first.Version == 0 || string(first.Data) != "first" {
		t.Fatalf("%+v, %v", first, ok)
	}
	for _, s := range []idempotency.Store{a, b} {
		e, ok := swap(t, s, id, 0, "second", time.Hour)
		if ok || e.Version != first.Version || string(e.Data) != "first" {
			t.Fatalf("made twice: %+v, %v", e, ok)
		}
	}
}

func replaced(t *testing.T, cfg Config) {
	a, b := cfg.Open(t)
	id := newID(t)
	first, _ := swap(t, a, id, 0, "first", time.Hour)
	second, ok := swap(t, b, id, first.Version, "second", time.Hour)
	if !ok || second.Version == first.Version || string(second.Data) != "second" {
		t.Fatalf("%+v, %v", second, ok)
	}
	for _, version := range []uint64{first.Version, second.Version + 1, 0} {
		e, ok := swap(t, a, id, version, "third", time.Hour)
		if ok || e.Version != second.Version || string(e.Data) != "second" {
			t.Fatalf("replaced by who knows version %d: %+v, %v", version, e, ok)
		}
	}
	missing := idempotency.Key{Method: t.Name(), Key: "missing"}.ID()
	if e, ok := swap(t, a, missing, second.Version, "x", time.Hour); ok || e.Version != 0 {
		t.Fatalf("a record that is not there is replaced: %+v, %v", e, ok)
	}
	if e, ok := swap(t, a, missing, 0, "x", time.Hour); !ok {
		t.Fatalf("and then it is there: %+v", e)
	}
}

func removed(t *testing.T, cfg Config) {
	a, b := cfg.Open(t)
	id := newID(t)
	first, _ := swap(t, a, id, 0, "first", time.Hour)
	if e, ok := swap(t, b, id, first.Version+1, "", 0); ok || e.Version != first.Version {
		t.Fatalf("removed by somebody else: %+v, %v", e, ok)
	}
	if e, ok := swap(t, b, id, first.Version, "", 0); !ok || e.Version != 0 {
		t.Fatalf("%+v, %v", e, ok)
	}
	if e, ok := swap(t, a, id, first.Version, "again", time.Hour); ok || e.Version != 0 {
		t.Fatalf("it is still there: %+v, %v", e, ok)
	}
}

func versionsGrow(t *testing.T, cfg Config) {
	a, _ := cfg.Open(t)
	id := newID(t)
	last := uint64(0)
	for range 3 {
		e, ok := swap(t, a, id, 0, "x", time.Hour)
		if !ok || e.Version <= last {
			t.Fatalf("version %d after %d, %v", e.Version, last, ok)
		}
		last = e.Version
		if _, ok := swap(t, a, id, last, "", 0); !ok {
			t.Fatal("not removed")
		}
	}
}

func dataIsKept(t *testing.T, cfg Config) {
	a, b := cfg.Open(t)
	id := newID(t)
	data := make([]byte, 70<<10)
	for i := range data {
		data[i] = byte(i * i)
	}
	given := bytes.Clone(data)
	if _, ok, err := a.Swap(t.Context(), id, 0, given, time.Hour); !ok || err != nil {
		t.Fatal(ok, err)
	}
	clear(given)
	e, _ := swap(t, b, id, 0, "x", time.Hour)
	if !bytes.Equal(e.Data, data) {
		t.Fatalf("%d bytes came back changed", len(e.Data))
	}
}

func oneOfMany(t *testing.T, cfg Config) {
	a, b := cfg.Open(t)
	won, entries := contend(t, a, b, newID(t), 0)
	if won != 1 {
		t.Fatalf("%d made the record", won)
	}
	for _, e := range entries {
		if !bytes.Equal(e.Data, entries[0].Data) || e.Version != entries[0].Version {
			t.Fatalf("two were told different things: %q, %q", e.Data, entries[0].Data)
		}
	}
}

func oneReplaces(t *testing.T, cfg Config) {
	a, b := cfg.Open(t)
	id := newID(t)
	first, _ := swap(t, a, id, 0, "first", time.Hour)
	if won, _ := contend(t, a, b, id, first.Version); won != 1 {
		t.Fatalf("%d replaced the record", won)
	}
}

// contend lets many swap at once.
func contend(t *testing.T, a, b idempotency.Store, id idempotency.ID, version uint64) (won int, entries []idempotency.Entry) {
	t.Helper()
	const n = 32
	entries = make([]idempotency.Entry, n)
	oks, errs := make([]bool, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			entries[i], oks[i], errs[i] = []idempotency.Store{a, b}[i%2].Swap(t.Context(), id, version, fmt.Append(nil, "by ", i), time.Hour)
		})
	}
	wg.Wait()
	for i := range n {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if oks[i] {
			won++
		}
	}
	return won, entries
}

func recordEnds(t *testing.T, cfg Config) {
	a, b := cfg.Open(t)
	var id idempotency.ID
	var first idempotency.Entry
	for ended := true; ended; {
		id = newID(t)
		begun := time.Now()
		first, _ = swap(t, a, id, 0, "first", cfg.TTL)
		pass(cfg.TTL / 2)
		if _, ended = swap(t, b, id, 0, "second", cfg.TTL); ended && cfg.lasts(begun) {
			t.Fatal("it ended early")
		}
	}
	pass(cfg.TTL/2 + cfg.Late)
	if e, ok := swap(t, a, id, first.Version, "renewed", cfg.TTL); ok || e.Version != 0 {
		t.Fatalf("it did not end: %+v, %v", e, ok)
	}
	if e, ok := swap(t, b, id, 0, "second", cfg.TTL); !ok || e.Version <= first.Version {
		t.Fatalf("%+v, %v", e, ok)
	}
}

func replacedLasts(t *testing.T, cfg Config) {
	a, b := cfg.Open(t)
	var long idempotency.ID
	for replaced := false; !replaced; {
		long = newID(t)
		begun := time.Now()
		first, _ := swap(t, a, long, 0, "first", cfg.TTL)
		if _, replaced = swap(t, b, long, first.Version, "second", time.Hour); !replaced && cfg.lasts(begun) {
			t.Fatal("it ended early")
		}
	}
	short := idempotency.Key{Method: t.Name(), Key: "short"}.ID()
	first, _ := swap(t, a, short, 0, "first", time.Hour)
	swap(t, b, short, first.Version, "second", cfg.TTL)
	pass(cfg.TTL + cfg.Late)
	if e, ok := swap(t, a, long, 0, "third", cfg.TTL); ok || string(e.Data) != "second" {
		t.Errorf("a longer time did not count: %+v, %v", e, ok)
	}
	if e, ok := swap(t, a, short, 0, "third", cfg.TTL); !ok {
		t.Errorf("a shorter time did not count: %+v", e)
	}
}

func callEnds(t *testing.T, cfg Config) {
	a, _ := cfg.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begun := time.Now()
	_, _, _ = a.Swap(ctx, newID(t), 0, []byte("x"), time.Hour) // it may work all the same
	if took := time.Since(begun); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

func pass(d time.Duration) { <-time.After(d) }
