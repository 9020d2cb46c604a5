package balance

import (
	"testing"
	"time"
	"unsafe"
)

// setBack is t as it is read after the wall clock was set back: the monotonic clock is not.
func setBack(t time.Time, by time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t)) // 1 bit: with a monotonic part; 33 bits: seconds; 30 bits: nanoseconds
	*wall -= uint64(by/time.Second) << 30
	return t
}

// What is due in a second is due in a second, whatever is done to the wall clock meanwhile.
func TestTheWallClockMayBeSetBack(t *testing.T) {
	now := time.Now()
	back := setBack(now, time.Hour)
	if back.UnixNano() != now.Add(-time.Hour).UnixNano() || back.Sub(now) != 0 {
		t.Fatalf("%v is not an hour before %v on the wall alone", back, now)
	}
	if nanos(back) != nanos(now) {
		t.Errorf("moved by %v", time.Duration(nanos(back)-nanos(now)))
	}
	if at := time.Unix(1000, 7); nanos(at) != at.UnixNano() {
		t.Errorf("a time of the wall alone is %d, want %d", nanos(at), at.UnixNano())
	}
	b := New(Config{})
	nodes := b.Update(now, []Member{{ID: "a"}, {ID: "b"}, {ID: "c"}})
	b.View(now, nodes)
	for range 60 {
		now = now.Add(20 * time.Millisecond)
		for i, n := range nodes {
			n.Start()
			health := Good
			if i == 0 {
				health = Bad
			}
			b.Done(n, now, now.Add(-time.Millisecond), Latency, health)
		}
	}
	v, probes := b.View(now, nodes), 0
	for at := now; at.Before(now.Add(10 * time.Minute)); at = at.Add(10 * time.Millisecond) {
		if v.Pick(Call{Now: setBack(at, time.Hour), Rand: uint64(at.UnixNano()), Safe: true}) == 0 {
			probes++
		}
	}
	if !nodes[0].ejected.Load() || probes < 10 {
		t.Errorf("an ejected node (%v) was tried %d times in 10 minutes", nodes[0].ejected.Load(), probes)
	}
}
