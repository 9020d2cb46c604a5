package sight

import (
	"testing"
	"time"
	"unsafe"

	"github.com/holdfast-go/holdfast/platform/control"
)

// setBack is t as it is read after the wall clock was set back: the monotonic clock is not.
func setBack(t time.Time, by time.Duration) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t)) // 1 bit: with a monotonic part; 33 bits: seconds; 30 bits: nanoseconds
	*wall -= uint64(by/time.Second) << 30
	return t
}

// What came before the wall clock was set back is as old as it is: it is in no rate of now, and goes when it is old. It is shown by
// the clock that people see.
func TestTheWallClockMayBeSetBack(t *testing.T) {
	var m metrics
	m.init(defaultMetricBytes)
	begun := m.opened
	r := m.source(source{service: []byte("orders"), instance: []byte("orders-1")})
	var served *series
	report := func(now time.Time) {
		p := &point{count: 10, bucket: []uint64{10}}
		r.reported(now)
		served = m.find(r, []byte("rpc.server.call.duration"), []byte("s"), kindHistogram, false, p)
		m.take(served, p, true, now)
		m.sweep(now)
	}
	second := 0
	for ; second < 300; second++ {
		report(begun.Add(time.Duration(second) * time.Second))
	}
	for ; second < 320; second++ {
		report(setBack(begun.Add(time.Duration(second)*time.Second), time.Hour))
	}
	now := setBack(begun.Add(time.Duration(second-1)*time.Second), time.Hour)
	if got := m.sums(now).nodes["orders"]; got.rate < 9 || got.rate > 12 {
		t.Errorf("%v calls a second, want 10", got.rate)
	}
	var counted float64
	points := m.answer(served, now.Add(-time.Minute), now)[0].Points
	for _, p := range points {
		counted += p.Value
	}
	if first := points[0].At; counted < 590 || counted > 610 || now.Sub(first).Round(time.Second) != time.Minute || first.UnixMilli()/1000 > now.Unix()-59 {
		t.Errorf("%v calls in the last minute, from %s to %s", counted, first, now)
	}
	for ; second < 320+int(control.MaxLast/time.Second); second++ {
		report(setBack(begun.Add(time.Duration(second)*time.Second), time.Hour))
	}
	if oldest := begun.Add(time.Duration(second)*time.Second - control.MaxLast - 2*chunkTime); served.chunks[0].end < m.ms(oldest) {
		t.Error("what is old is kept")
	}
}
