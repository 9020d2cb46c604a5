package telemetry

import (
	"testing"
	"time"
	"unsafe"
)

// moved is t as it is read after the wall clock was set: the monotonic clock is not.
func moved(t time.Time, by time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t)) // 1 bit: with a monotonic part; 33 bits: seconds; 30 bits: nanoseconds
	*wall += uint64(by/time.Second) << 30
	return t
}

// What took 20 ms took 20 ms in the trace as well, whatever is done to the wall clock meanwhile.
func TestTheWallClockMayBeSetDuringASpan(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, 0, time.Hour} {
		s := newSnapshot()
		s.begun = time.Now()
		s.ended = moved(s.begun.Add(20*time.Millisecond), by)
		if s.ended.UnixNano() != s.begun.Add(20*time.Millisecond+by).UnixNano() || s.ended.Sub(s.begun) != 20*time.Millisecond {
			t.Fatalf("%v is not 20 ms after %v, and %v on the wall alone", s.ended, s.begun, by)
		}
		if took := s.EndTime().UnixNano() - s.StartTime().UnixNano(); took != int64(20*time.Millisecond) {
			t.Errorf("set by %v: 20 ms are %v", by, time.Duration(took))
		}
	}
}
