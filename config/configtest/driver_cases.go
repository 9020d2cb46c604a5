package configtest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/internal/stopwatch"
)

// driverCases show the primitives themselves.
var driverCases = []testCase{
	{"Driver/RoundTrip", roundTrip},
	{"Driver/AnyValue", anyValue},
	{"Driver/PrefixesAreApart", prefixesAreApart},
	{"Driver/WatchMissesNothing", watchMissesNothing},
	{"Driver/RevisionsGrow", revisionsGrow},
	{"Driver/FrozenCallsEnd", frozenCallsEnd},
	{"Driver/DownIsAnError", downIsAnError},
	{"Driver/CloseEndsWatches", closeEndsWatches},
}

// roundTrip: what is put is listed by others, and what is deleted is not.
func roundTrip(t *testing.T, e *env) {
	d, other := e.Open(t), e.Open(t)
	if l := e.list(t, d); len(l.Entries) != 0 {
		t.Fatalf("an empty engine lists %+v", l)
	}
	first := e.put(t, d, prefix+"orders", "10")
	second := e.put(t, d, prefix+"orders", "20")
	if first == second {
		t.Errorf("two puts have revision %d", first)
	}
	l := e.list(t, other)
	if len(l.Entries) != 1 || l.Entries[0].Key != prefix+"orders" || string(l.Entries[0].Value) != "20" || l.Entries[0].Revision != second {
		t.Errorf("listed %+v, want orders = 20 of revision %d", l.Entries, second)
	}
	e.remove(t, other, prefix+"orders")
	if found, err := d.Delete(e.ctx(t), prefix+"orders"); found || err != nil {
		t.Errorf("delete again: %v, %v; want false and no error", found, err)
	}
	if l := e.list(t, d); len(l.Entries) != 0 {
		t.Errorf("after the delete: %+v", l.Entries)
	}
}

// anyValue: bytes come back as they were: none, any byte, as many as are allowed. So do keys of all allowed characters.
func anyValue(t *testing.T, e *env) {
	d := e.Open(t)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), driver.MaxValue/16)
	longest := strings.Repeat("k", driver.MaxElement)
	longest += "/" + strings.Repeat("k", driver.MaxKey-len(prefix)-len(longest)-1)
	for key, value := range map[string][]byte{
		"empty": {}, "unicode": []byte("Grüße, 世界 🌊\n"), "bytes": every, "large": large,
		"a/b/c-D_9.x": []byte("deep"), longest: []byte("long"),
	} {
		if _, err := d.Put(e.ctx(t), prefix+key, value); err != nil {
			t.Errorf("%.40s: %v", key, err)
			continue
		}
		l, err := d.List(e.ctx(t), prefix+key)
		if err != nil {
			t.Errorf("%.40s: %v", key, err)
			continue
		}
		if len(l.Entries) != 1 || l.Entries[0].Key != prefix+key || !bytes.Equal(l.Entries[0].Value, value) {
			t.Errorf("%.40s: %d bytes did not come back as they were: %d entries", key, len(value), len(l.Entries))
		}
	}
}

// prefixesAreApart: a list has what begins with its prefix, which may end within a name, and nothing else.
func prefixesAreApart(t *testing.T, e *env) {
	d := e.Open(t)
	for _, key := range []string{"limit", "limits2/x", "limits/a", "limits/ab", "limits/b/a"} {
		e.put(t, d, key, key)
	}
	for prefix, want := range map[string]int{"": 5, "limits/": 3, "limits/a": 2, "limits/b/": 1, "limits/c": 0, "limits2": 1} {
		l, err := d.List(e.ctx(t), prefix)
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Entries) != want {
			t.Errorf("below %q are %+v, want %d", prefix, l.Entries, want)
		}
	}
}

// watchMissesNothing: what happens between a list and the watch from its revision is delivered, and what happens later.
func watchMissesNothing(t *testing.T, e *env) {
	d := e.Open(t)
	e.put(t, d, prefix+"before", "1")
	l := e.list(t, d)
	e.put(t, d, prefix+"between", "2")
	e.remove(t, d, prefix+"before")
	w, err := d.Watch(e.ctx(t), prefix, l.Revision)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	have := map[string]string{prefix + "before": "1"}
	wait := func(want string) {
		t.Helper()
		for state(have) != want {
			u, err := w.Next(e.ctx(t))
			if err != nil {
				t.Fatalf("have %q, want %q: %v", state(have), want, err)
			}
			apply(have, u)
		}
	}
	wait("between=2")
	e.put(t, d, prefix+"after", "3")
	e.put(t, d, "elsewhere", "4")
	e.put(t, d, prefix+"between", "")
	wait("after=3 between=")
	e.remove(t, d, prefix+"between")
	wait("after=3")
}

// apply does to have what an update says.
func apply(have map[string]string, u driver.Update) {
	if u.Full != nil {
		clear(have)
		for _, entry := range u.Full.Entries {
			have[entry.Key] = string(entry.Value)
		}
	}
	for _, c := range u.Changes {
		if c.Entry == nil {
			delete(have, c.Key)
		} else {
			have[c.Key] = string(c.Entry.Value)
		}
	}
}

func state(have map[string]string) string {
	var words []string
	for key, value := range have {
		words = append(words, strings.TrimPrefix(key, prefix)+"="+value)
	}
	return join(words)
}

// revisionsGrow: a list has a revision at least that of each list before it.
func revisionsGrow(t *testing.T, e *env) {
	d := e.Open(t)
	var last uint64
	for i, step := range []func(){
		func() {},
		func() { e.put(t, d, prefix+"a", "1") },
		func() { e.put(t, d, prefix+"b", "1") },
		func() { e.put(t, d, prefix+"b", "2") },
		func() { e.remove(t, d, prefix+"a") },
		func() { e.remove(t, d, prefix+"b") },
		func() { e.put(t, d, prefix+"a", "1") },
	} {
		step()
		if l := e.list(t, d); l.Revision < last {
			t.Errorf("step %d: revision %d after %d", i, l.Revision, last)
		} else {
			last = l.Revision
		}
	}
}

// frozenCallsEnd: every call ends with its context although nothing answers.
func frozenCallsEnd(t *testing.T, e *env) {
	f, ok := e.Engine.(Freezer)
	if !ok {
		t.Fatal("this engine is no Freezer, and Config.CannotFreeze is not set")
	}
	d := e.Open(t)
	e.put(t, d, prefix+"a", "1")
	w, err := d.Watch(e.ctx(t), prefix, e.list(t, d).Revision)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	f.Freeze()
	defer f.Thaw()
	for name, call := range map[string]func(context.Context) error{
		"list":   func(ctx context.Context) error { _, err := d.List(ctx, prefix); return err },
		"put":    func(ctx context.Context) error { _, err := d.Put(ctx, prefix+"b", nil); return err },
		"delete": func(ctx context.Context) error { _, err := d.Delete(ctx, prefix+"a"); return err },
		"next":   func(ctx context.Context) error { _, err := w.Next(ctx); return err },
		"watch": func(ctx context.Context) error {
			w, err := d.Watch(ctx, prefix, 0)
			if err == nil {
				_ = w.Close()
			}
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		took := stopwatch.Start(t)
		err := call(ctx)
		if took := took(); err == nil || took > 2*time.Second {
			t.Errorf("%s on a frozen engine: %v after %v", name, err, took)
		}
		cancel()
	}
}

// downIsAnError: without the engine there is an error, never an empty list.
func downIsAnError(t *testing.T, e *env) {
	d := e.Open(t)
	e.put(t, d, prefix+"a", "1")
	e.Down()
	if l, err := d.List(e.ctx(t), prefix); err == nil {
		t.Errorf("list of an engine that is down: %+v", l)
	}
	if _, err := d.Put(e.ctx(t), prefix+"b", nil); err == nil {
		t.Error("put on an engine that is down: no error")
	}
	e.Up()
	ctx := e.ctx(t)
	for {
		l, err := d.List(ctx, prefix)
		if err == nil {
			if len(l.Entries) != 1 {
				t.Errorf("after it is up again: %+v", l)
			}
			return
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Fatalf("no list after it is up again: %v", err)
		}
	}
}

// closeEndsWatches: a watch ends with its driver's Close or its own, with an error.
func closeEndsWatches(t *testing.T, e *env) {
	d := e.Open(t)
	w, err := d.Watch(e.ctx(t), prefix, e.list(t, d).Revision)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := w.Next(e.ctx(t))
		ended <- err
	}()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Next of a closed watch = %v, want an error at once", err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
}
