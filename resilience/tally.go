package resilience

import "time"

// tallySlots is into how many parts a tally divides its time.
const tallySlots = 30

// tally counts attempts, and those of them that went well, over the time that has just passed: tallySlots parts, of
// which the oldest is dropped as a new one begins.
type tally struct {
	slot      time.Duration // of a part; above 0
	head      int64         // number of the newest part
	parts     [tallySlots]struct{ all, good int }
	all, good int // their sums
}

// newTally returns a tally of that time.
func newTally(over time.Duration) tally { return tally{slot: max(over/tallySlots, 1)} }

// add counts an attempt.
func (t *tally) add(now time.Time, good bool) {
	t.turn(now)
	p := &t.parts[t.head%tallySlots]
	p.all++
	t.all++
	if good {
		p.good++
		t.good++
	}
}

// counts returns the sums at now.
func (t *tally) counts(now time.Time) (all, good int) {
	t.turn(now)
	return t.all, t.good
}

// recent returns the sums of the newest n parts at now.
func (t *tally) recent(now time.Time, n int64) (all, good int) {
	t.turn(now)
	for i := max(t.head-n+1, 0); i <= t.head; i++ {
		p := t.parts[i%tallySlots]
		all, good = all+p.all, good+p.good
	}
	return all, good
}

func (t *tally) clear() { *t = tally{slot: t.slot, head: t.head} }

// turn drops what is too old at now. A time before the newest part counts as in it.
func (t *tally) turn(now time.Time) {
	head := max(nanos(now), 0) / int64(t.slot)
	if head-t.head >= tallySlots {
		t.clear()
		t.head = head
	}
	for t.head < head {
		t.head++
		p := &t.parts[t.head%tallySlots]
		t.all, t.good = t.all-p.all, t.good-p.good
		*p = struct{ all, good int }{}
	}
}
