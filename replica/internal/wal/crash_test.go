package wal_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
	"github.com/holdfast-go/holdfast/replica/internal/wal"
)

// crasher writes a workload and checks what is there after each crash.
type crasher struct {
	t    *testing.T
	fs   *disk.Sim
	w    *workload
	c    wal.Config
	log  *wal.Log
	step func() bool // drops a segment that is gone; nil: Append does that
	late bool        // step is to be used
	have model       // acknowledged
	want model       // with what was being written, or have
	what string
}

func newCrasher(t *testing.T, seed uint64) *crasher {
	return &crasher{t: t, fs: disk.NewSim(seed), w: newWorkload(seed, 4), c: config(seed), have: model{}, want: model{}, what: fmt.Sprintf("seed %d", seed)}
}

// open opens the log and checks it. It reports whether the machine crashed meanwhile.
func (c *crasher) open() (ok bool) {
	c.t.Helper()
	l, err := wal.Open(c.fs, dir, c.c)
	if err != nil {
		if errors.Is(err, disk.ErrCrashed) {
			return false
		}
		c.t.Fatalf("%s: open: %v", c.what, err)
	}
	c.log = l
	if c.late {
		c.step = l.Step()
	}
	// What was being written is there or is not; from now on that is decided.
	diff := c.want.differs(c.t, l)
	if diff != "" {
		if old := c.have.differs(c.t, l); old != "" {
			c.t.Fatalf("%s: neither what was acknowledged (%s) nor what was being written (%s)", c.what, old, diff)
		}
		c.want = c.have
	}
	c.have = c.want.clone()
	c.w.m = c.have.clone()
	return true
}

// write appends n times, or until the machine crashes.
func (c *crasher) write(n int) (ok bool) {
	c.t.Helper()
	for range n {
		updates := c.w.next()
		c.want = c.w.m.clone()
		if err := c.log.Append(updates); err != nil {
			if !errors.Is(err, disk.ErrCrashed) {
				c.t.Fatalf("%s: %v", c.what, err)
			}
			if again := c.log.Append(updates); !errors.Is(again, disk.ErrCrashed) {
				c.t.Fatalf("%s: written to again after an error: %v", c.what, again)
			}
			return false
		}
		c.have = c.want.clone()
		if c.late && c.w.rng.IntN(2) == 0 {
			c.step()
		}
	}
	return true
}

func (c *crasher) run(n int) bool { return c.open() && c.write(n) }

// TestCrashAtEveryOperation is the promise of the package: wherever the machine stops, what was acknowledged is there,
// and what was not is there completely or not at all; also when it stops while it recovers, and again after that.
func TestCrashAtEveryOperation(t *testing.T) {
	const appends = 45
	for seed := range uint64(2) {
		whole := newCrasher(t, seed)
		if !whole.run(appends) {
			t.Fatal("crashed")
		}
		if s := whole.log.Stats(); s.Segments < 2 {
			t.Fatalf("too few segments to show anything: %+v", s)
		}
		whole.log.Close()
		for at := 1; at <= whole.fs.Ops(); at++ {
			c := newCrasher(t, seed)
			c.what = fmt.Sprintf("seed %d, crash in operation %d", seed, at)
			c.fs.CrashAt(at)
			if c.run(appends) {
				t.Fatalf("%s: no crash", c.what)
			}
			c.fs.Crash()
			// It crashes while it recovers, too, at a point that differs with each.
			for again := 1 + at%7; ; again += 11 {
				c.fs.CrashAt(c.fs.Ops() + again)
				if c.run(10) {
					c.log.Close()
					break
				}
				c.what += fmt.Sprintf(", then after %d more", again)
				if at%3 == 0 { // the process alone ends, and only then the machine
					c.fs.Kill()
					if c.open() {
						c.log.Close()
					}
				}
				c.fs.Crash()
			}
			c.fs.Crash()
			if !c.open() || !c.write(3) {
				t.Fatalf("%s: crashed without a crash", c.what)
			}
			c.log.Close()
		}
	}
}

// TestManyCrashes goes on for long with one disk, so that segments are recycled, entries moved and numbers grow.
func TestManyCrashes(t *testing.T) {
	for seed := uint64(100); seed < 106; seed++ {
		c := newCrasher(t, seed)
		c.late = seed >= 104
		for round := range 40 {
			c.what = fmt.Sprintf("seed %d, round %d", seed, round)
			c.fs.CrashAt(c.fs.Ops() + 1 + c.w.rng.IntN(250))
			if c.run(100) {
				c.log.Close()
			}
			switch c.w.rng.IntN(3) {
			case 0:
				c.fs.Kill()
			default:
				c.fs.Crash()
			}
		}
	}
}
