package balance

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What is learnt after a call is done counts as if Done had been told, and nothing is in flight for it.
func TestWhatIsLearntLaterCountsAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var events [2][]Event
		var views [2]*View
		for i := range views {
			_, views[i] = in(Config{Seed: 1, OnEject: func(e Event) { events[i] = append(events[i], e) }}, 3)
		}
		now := epoch
		for range rapid.IntRange(1, 200).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.IntRange(0, 500).Draw(t, "ms")) * time.Millisecond)
			start := now.Add(-time.Duration(rapid.IntRange(1, 100).Draw(t, "took")) * time.Millisecond)
			k := rapid.IntRange(0, 2).Draw(t, "node")
			s := Sample(rapid.IntRange(int(None), int(LowerBound)).Draw(t, "sample"))
			h := Health(rapid.IntRange(int(Neutral), int(Suspicious)).Draw(t, "health"))
			at, later := views[0].nodes[k], views[1].nodes[k]
			at.Start()
			views[0].b.Done(at, now, start, s, h)
			later.Start()
			views[1].b.Done(later, now, start, None, Neutral)
			views[1].b.Learn(later, now, start, s, h)
			took, _ := at.Latency(now)
			if other, _ := later.Latency(now); took != other || at.ejected.Load() != later.ejected.Load() || later.InFlight() != 0 {
				t.Fatalf("%v and %v, ejected %v and %v, %d in flight", took, other, at.ejected.Load(), later.ejected.Load(), later.InFlight())
			}
		}
		if a, b := fmt.Sprint(events[0]), fmt.Sprint(events[1]); a != b {
			t.Fatalf("%s\n%s", a, b)
		}
	})
}

// A sign of life brings back what is ejected, and excuses nothing that is not.
func TestASignOfLifeCountsForTheEjected(t *testing.T) {
	b, v := in(Config{}, 3)
	n, now := v.nodes[0], epoch
	end := func(h Health) {
		n.Start()
		b.Done(n, now, now, None, h)
	}
	for range DefaultConsecutive {
		if b.Alive(n, now, now) {
			t.Fatal("it is not ejected")
		}
		now = now.Add(time.Second)
		end(Bad)
	}
	if !n.ejected.Load() {
		t.Fatal("it is not ejected, though its calls fail each time")
	}
	before := now.Add(-time.Second)
	now = now.Add(time.Second)
	for range wins {
		b.Alive(n, now, before)
	}
	if !n.ejected.Load() {
		t.Error("calls that began before it was ejected have brought it back")
	}
	for range wins - 1 {
		b.Alive(n, now, now)
	}
	end(Bad)
	for range wins - 1 {
		b.Alive(n, now, now)
	}
	if !n.ejected.Load() {
		t.Error("it is back although a call has failed in between")
	}
	if !b.Alive(n, now, now) || n.ejected.Load() {
		t.Errorf("it is not back after %d signs of life in a row", wins)
	}
	if n.InFlight() != 0 {
		t.Errorf("%d in flight", n.InFlight())
	}
}
