package idempotency_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/idempotency"
	"github.com/holdfast-go/holdfast/idempotency/idempotencytest"
)

func TestMemoryIsAStore(t *testing.T) {
	idempotencytest.Run(t, idempotencytest.Config{
		Open:   func(*testing.T) (a, b idempotency.Store) { m := new(idempotency.Memory); return m, m },
		Around: synctest.Test,
		TTL:    time.Minute, Late: 1,
	})
}

func id(n int) idempotency.ID { return idempotency.Key{Key: fmt.Sprint("key-", n)}.ID() }

var (
	underWay = idempotency.Record{State: idempotency.UnderWay}.Append(nil)
	done     = idempotency.Record{State: idempotency.Done, Result: make([]byte, 1000)}.Append(nil)
)

func TestAFullMemoryForgetsWhatItWouldForgetFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &idempotency.Memory{MaxRecords: 3}
		for n, ttl := range []time.Duration{3 * time.Hour, time.Hour, 2 * time.Hour, 4 * time.Hour} {
			if _, ok, err := m.Swap(t.Context(), id(n), 0, done, ttl); !ok || err != nil {
				t.Fatal(n, ok, err)
			}
		}
		for n, there := range []bool{true, false, true, true} {
			e, _, _ := m.Swap(t.Context(), id(n), 1<<60, done, time.Hour) // nobody's version: changes nothing
			if got := e.Version != 0; got != there {
				t.Errorf("record %d is there: %v", n, got)
			}
		}
		if records, _, evicted := m.Usage(); records != 3 || evicted != 1 {
			t.Errorf("%d records, %d forgotten early", records, evicted)
		}
	})
}

func TestAFullMemoryKeepsWhatIsUnderWay(t *testing.T) {
	m := &idempotency.Memory{MaxRecords: 2}
	for n := range 2 {
		if _, ok, err := m.Swap(t.Context(), id(n), 0, underWay, time.Hour); !ok || err != nil {
			t.Fatal(n, ok, err)
		}
	}
	_, ok, err := m.Swap(t.Context(), id(2), 0, underWay, time.Hour)
	if ok || failure.CodeOf(err) != failure.ResourceExhausted || failure.From(err).RetryAfter <= 0 {
		t.Fatalf("%v, %v", ok, err)
	}
	e, _, _ := m.Swap(t.Context(), id(0), 0, underWay, time.Hour)
	if _, ok, err := m.Swap(t.Context(), id(0), e.Version, done, time.Hour); !ok || err != nil {
		t.Fatal("one that is finished needs no further room: ", err)
	}
	if _, ok, err := m.Swap(t.Context(), id(2), 0, underWay, time.Hour); !ok || err != nil {
		t.Fatal("now an answer can be forgotten: ", err)
	}
}

// Whatever is done to it, a Memory stays within its bounds, and never forgets what is under way.
func TestMemoryIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const maxRecords, maxBytes = 8, 6000
		m := &idempotency.Memory{MaxRecords: maxRecords, MaxBytes: maxBytes}
		type known struct {
			version uint64
			running bool
		}
		model := make(map[int]known)
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			n := rapid.IntRange(0, 15).Draw(t, "key")
			data, running := done, rapid.Bool().Draw(t, "under way")
			if running {
				data = underWay
			}
			if rapid.IntRange(0, 4).Draw(t, "remove") == 0 {
				data, running = nil, false
			}
			before := model[n]
			e, ok, err := m.Swap(t.Context(), id(n), before.version, data, time.Duration(rapid.IntRange(1, 100).Draw(t, "ttl"))*time.Hour)
			switch {
			case err != nil && (before.version != 0 || data == nil):
				t.Fatalf("no room for a record that is there: %v", err)
			case err != nil:
			case !ok && before.running:
				t.Fatal("what was under way is forgotten")
			case !ok:
				delete(model, n) // forgotten early
			case data == nil:
				delete(model, n)
			default:
				model[n] = known{e.Version, running}
			}
			records, size, _ := m.Usage()
			if records > maxRecords || size > maxBytes {
				t.Fatalf("%d records, %d bytes", records, size)
			}
		}
	})
}
