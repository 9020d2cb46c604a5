package core

import (
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

func TestTheTimeOfTheLogGoesOnAsTimeDoes(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		ahead time.Duration // of the new leader's wall clock
		after time.Duration // the next entry
		want  time.Duration // of the log's time, from the last entry
	}{
		"right":                {0, 10 * time.Second, 10 * time.Second},
		"a little ahead":       {500 * time.Millisecond, 10 * time.Second, 10500 * time.Millisecond},
		"hours ahead":          {3 * time.Hour, 10 * time.Second, 12 * time.Second},
		"hours behind":         {-3 * time.Hour, 10 * time.Second, 9 * time.Second},
		"hours ahead, at once": {3 * time.Hour, 0, time.Second},
	} {
		var clock logClock
		clock.observe(noon.UnixNano(), noon.Add(c.ahead)) // as this member's clock says
		clock.lead(0)
		now := noon.Add(c.ahead + c.after)
		if got := time.Duration(clock.next(now) - noon.UnixNano()); got != c.want {
			t.Errorf("%s: %v later, want %v", name, got, c.want)
		}
		// The step is allowed once, not with each entry.
		before := clock.last
		for range 100 {
			now = now.Add(10 * time.Millisecond)
			clock.next(now)
		}
		if d := time.Duration(clock.last - before); d < 900*time.Millisecond || d > 1100*time.Millisecond {
			t.Errorf("%s: %v in a second", name, d)
		}
	}
}

// A leader that has seen no entry come in has nothing to go by but its wall clock: the group may have been down for long.
func TestWithoutAnEntryTheWallClockCounts(t *testing.T) {
	var clock logClock
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	clock.lead(0)
	if got := clock.next(now); got != now.UnixNano() {
		t.Error(time.Unix(0, got))
	}
}

// What was remembered is not forgotten early because somebody with a clock hours ahead leads now.
func TestALeaderWhoseClockIsAheadForgetsNoKeys(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	old := w.lead()
	w.ok(w.propose(old, "a", "key"), "a@1")
	for _, n := range w.followers() {
		w.crash(n.id)
		n.skew = 48 * time.Hour
		w.restart(n.id)
		w.pass(time.Second)
	}
	w.ok(w.propose(old, "b"), "b@2") // what they know the time by
	w.pass(time.Second)
	w.crash(old.id)
	l := w.lead()
	if l.skew == 0 {
		t.Fatal("the wrong one leads")
	}
	w.ok(w.propose(l, "c"), "c@3")
	w.ok(w.propose(l, "a", "key"), "a@1")
	if last := l.machine.times[len(l.machine.times)-1]; last.After(w.now.Add(time.Minute)) {
		t.Errorf("the log says %v, it is %v", last, w.now)
	}
}

// What has a time to live lives no longer because the power failed where the clocks were wrong before, or are now.
func TestTimeGoesOnThoughAllRestartWithClocksThatAreBehind(t *testing.T) {
	for name, c := range map[string]struct {
		ids []uint64
		cfg func(*Config)
	}{
		"alone":         {ids: []uint64{1}},
		"three":         {ids: []uint64{1, 2, 3}},
		"by a snapshot": {ids: []uint64{1, 2, 3}, cfg: func(c *Config) { c.SnapshotEntries, c.KeepEntries = 1, 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.ids...)
			w.cfg = c.cfg
			w.restartAll()
			w.ok(w.propose(w.lead(), "a"), "a@1")
			a := w.lead().machine.times[0]
			w.pass(time.Second)
			for _, id := range c.ids {
				w.crash(id)
			}
			for _, id := range c.ids {
				n := w.nodes[id]
				if kept := slices.ContainsFunc(n.entries, func(e *raftpb.Entry) bool { _, ok := headerOf(e); return ok }); kept != (c.cfg == nil) {
					t.Fatalf("member %d: that its log has entries of commands is %v", id, kept)
				}
				n.skew = -2 * time.Hour
				w.restart(id)
			}
			w.ok(w.propose(w.lead(), "b"), "b@2")
			w.pass(10 * time.Second)
			w.ok(w.propose(w.lead(), "c"), "c@3")
			for _, id := range c.ids {
				w.pass(time.Second)
				times := w.nodes[id].machine.times
				b, c := times[len(times)-2], times[len(times)-1]
				if b.Before(a) || b.Sub(a) > 10*time.Second {
					t.Errorf("member %d: %v from before the restart until after it", id, b.Sub(a))
				}
				if d := c.Sub(b); d < 9*time.Second || d > 12*time.Second {
					t.Errorf("member %d: %v in ten seconds", id, d)
				}
			}
		})
	}
}
