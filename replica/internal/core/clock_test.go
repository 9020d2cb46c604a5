package core

import (
	"testing"
	"time"
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
		clock.lead()
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
	clock.lead()
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
