package core

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// An applier that is behind for long must not collect all reads that were given up meanwhile.
func TestReadsThatWereTakenBackAreNotKept(t *testing.T) {
	const most = 200
	w := newWorld(t, 1, 2, 3)
	w.cfg = func(c *Config) { c.MaxReads = most }
	w.restartAll()
	f := w.followers()[0]
	w.ok(w.propose(f, "a"), "a@1")
	w.lag[f.id] = true
	w.ok(w.propose(w.lead(), "b"), "b@2")
	last := w.read(f)
	held := func() (n int) {
		for _, w := range f.m.reads.waiting {
			n += len(w.reads)
		}
		if r := f.m.reads.round; r != nil {
			n += len(r.reads)
		}
		return n + len(f.m.reads.gathering)
	}
	refused := 0
	for range 100 {
		var some []*Read
		for range most / 4 {
			r := &Read{Done: func(error) { t.Error("it was taken back") }}
			if err := f.m.Read(w.now, r); err != nil {
				refused++
				continue
			}
			some = append(some, r)
		}
		w.pass(testElection / 4)
		for _, r := range some {
			if !f.m.CancelRead(r) {
				t.Fatal("not taken back")
			}
		}
		if n := held(); n > most || n > f.m.reads.held {
			t.Fatalf("%d are held, %d are counted, at most %d may be", n, f.m.reads.held, most)
		}
	}
	if refused > 0 {
		t.Errorf("%d were refused", refused)
	}
	w.lag[f.id] = false
	w.ok(last, "")
	w.ok(w.read(f), "")
	if f.m.reads.held != 0 || f.m.reads.count != 0 {
		t.Errorf("%d, %d are counted in the end", f.m.reads.held, f.m.reads.count)
	}
}

func TestReadsThatWaitFillTheTable(t *testing.T) {
	w := newWorld(t, 1)
	w.cfg = func(c *Config) { c.MaxReads = 3 }
	w.restartAll()
	n := w.lead()
	w.lag[n.id] = true
	var all []*call
	for range 3 {
		all = append(all, w.read(n))
	}
	r := &Read{Done: func(error) {}}
	if err := n.m.Read(w.now, r); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	n.m.CancelRead(&all[0].Read)
	w.run()
	if err := n.m.Read(w.now, r); err != nil {
		t.Fatal(err)
	}
	w.lag[n.id] = false
	w.ok(all[1], "")
	w.ok(all[2], "")
}

func TestKeysThatAreForgottenEarlyAreCounted(t *testing.T) {
	w := newWorld(t, 1)
	w.cfg = func(c *Config) { c.MaxKeys, c.KeyRetention = 3, time.Hour }
	w.restartAll()
	n := w.lead()
	for i := range 5 {
		w.ok(w.propose(n, "x", fmt.Sprint("key ", i)), fmt.Sprintf("x@%d", i+1))
	}
	if got := n.m.Status().Counts.KeysDropped; got != 2 {
		t.Errorf("%d", got)
	}
	w.now = w.now.Add(2 * time.Hour)
	w.ok(w.propose(n, "x"), "x@6")
	if got := n.m.Status().Counts.KeysDropped; got != 2 || len(n.a.keys.byKey) != 0 {
		t.Errorf("%d, %d left", got, len(n.a.keys.byKey))
	}
}

// A stop takes the disk's context away: what fails of that is no news.
func TestASnapshotThatAStopEndsIsNoError(t *testing.T) {
	var log strings.Builder
	w := newWorld(t, 1)
	w.cfg = func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) }
	w.restartAll()
	n := w.lead()
	n.m.Stop()
	n.m.SnapshotFailed(w.now, bytes.ErrTooLarge)
	if strings.Contains(log.String(), "level=ERROR") {
		t.Error(log.String())
	}
}
