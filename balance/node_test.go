package balance

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The average rises at once to a slower sample, moves towards a faster one and not beyond it, is raised and never
// lowered by a lower bound, is not touched by no sample, and decays while there is none.
func TestNodeAverage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, now := NewNode("a"), epoch
		var last time.Duration // the average at the time of the last sample
		about := func(a, b time.Duration) bool { return a <= b+b/1e6+3 && b <= a+a/1e6+3 }
		for range rapid.IntRange(1, 100).Draw(t, "samples") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "pause")))
			before, known := n.Latency(now)
			took := time.Duration(rapid.Int64Range(1000, int64(time.Minute)).Draw(t, "took"))
			s := Sample(rapid.IntRange(int(None), int(LowerBound)).Draw(t, "sample"))
			n.Start()
			n.Done(now, now.Add(-took), s)
			after, _ := n.Latency(now)
			switch {
			case s == None:
				if !about(after, before) {
					t.Fatalf("no sample changes %v to %v", before, after)
				}
			case s == LowerBound && known:
				least := max(took, before)
				if after < least && !about(after, least) {
					t.Fatalf("a lower bound of %v makes %v of %v", took, after, before)
				}
				if m := max(took, 2*before); after > m && !about(after, m) {
					t.Fatalf("a lower bound of %v makes %v of %v", took, after, before)
				}
				last = after
			case !known || took >= last:
				if !about(after, took) {
					t.Fatalf("%v becomes %v after sample %d of %v", before, after, s, took)
				}
				last = after
			default:
				// After lower bounds an answer takes it to a quarter, else as far as the time since says.
				if after < took && !about(after, took) || after > last && !about(after, last) {
					t.Fatalf("%v, last %v, becomes %v after %v", before, last, after, took)
				}
				last = after
			}
			idle := time.Duration(rapid.Int64Range(int64(100*time.Millisecond), int64(30*time.Second)).Draw(t, "idle"))
			if later, ok := n.Latency(now.Add(idle)); ok && after > time.Microsecond && later >= after {
				t.Fatalf("%v idle leaves %v of %v", idle, later, after)
			}
			if _, ok := n.Latency(now.Add(forget + 2*tick)); ok {
				t.Fatalf("%v is known for ever, before %v, %v", after, before, known)
			}
		}
		if n.InFlight() != 0 {
			t.Fatalf("%d in flight", n.InFlight())
		}
	})
}

// An average moves to a lasting change within a few times the decay, whatever the rate of calls.
func TestNodeAverageFollows(t *testing.T) {
	for _, every := range []time.Duration{2 * time.Millisecond, 100 * time.Millisecond, time.Second} {
		n, now := NewNode("a"), epoch
		give(n, now, time.Second)
		for now.Before(epoch.Add(5 * decay)) {
			now = now.Add(every)
			give(n, now, 10*time.Millisecond)
		}
		if d, ok := n.Latency(now); !ok || d < 10*time.Millisecond || d > 20*time.Millisecond {
			t.Errorf("a call every %v: 10ms look like %v, %v, after %v", every, d, ok, 5*decay)
		}
	}
}

// After one time constant, what was before counts for 1/e, and what is new for the rest.
func TestNodeAverageWeighsByTime(t *testing.T) {
	n := NewNode("a")
	give(n, epoch, 100*time.Millisecond)
	give(n, epoch.Add(decay), 10*time.Millisecond)
	if d, _ := n.Latency(epoch.Add(decay)); d.Round(100*time.Microsecond) != 43100*time.Microsecond {
		t.Errorf("100ms and, %v later, 10ms are %v, want 10ms + 90ms/e", decay, d)
	}
}

// Calls that were not waited for one after the other double the average, those of one moment do not, and answers
// take it down again.
func TestNodeAverageDoublesWhileNothingComesBack(t *testing.T) {
	n, at := NewNode("a"), epoch
	give := func(after, took time.Duration, s Sample, want time.Duration) {
		t.Helper()
		at = at.Add(after)
		n.Start()
		n.Done(at, at.Add(-took), s)
		if got, _ := n.Latency(at); got < want*9/10 || got > want*101/100 {
			t.Errorf("after sample %d of %v: %v, want about %v", s, took, got, want)
		}
	}
	const wait = 100 * time.Millisecond // so that next to nothing decays
	give(0, 10*time.Millisecond, Latency, 10*time.Millisecond)
	for range 20 { // all in flight at the same time
		give(time.Millisecond, wait, LowerBound, wait)
	}
	give(2*wait, wait, LowerBound, 2*wait)
	give(2*wait, wait, LowerBound, 4*wait)
	give(2*wait, 10*time.Millisecond, Latency, wait)
	give(2*wait, 10*time.Millisecond, Latency, wait/4)
	give(2*wait, 10*time.Millisecond, Latency, 10*time.Millisecond)
	give(2*wait, wait, LowerBound, wait)
	for range 40 {
		at = at.Add(2 * wait)
		n.Start()
		n.Done(at, at.Add(-wait), LowerBound)
	}
	if d, _ := n.Latency(at); d < most/2 || d > most+time.Millisecond {
		t.Errorf("after very many: %v, want at most %v", d, most)
	}
}

// What was long ago does not count, not even to say that a lower bound tells nothing new.
func TestNodeAverageStartsAnewAfterALongTime(t *testing.T) {
	for _, s := range []Sample{Latency, LowerBound} {
		n, later := NewNode("a"), epoch.Add(forget+time.Second)
		give(n, epoch, time.Minute)
		n.Start()
		n.Done(later, later.Add(-time.Millisecond), s)
		if d, ok := n.Latency(later); !ok || d.Round(time.Microsecond) != time.Millisecond {
			t.Errorf("sample %d: %v, %v, want 1ms", s, d, ok)
		}
	}
}

// give is a whole call: n answers in d.
func give(n *Node, now time.Time, d time.Duration) {
	n.Start()
	n.Done(now, now.Add(-d), Latency)
}
