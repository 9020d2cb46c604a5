package resilience

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
}
