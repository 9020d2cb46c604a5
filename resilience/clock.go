package resilience

import "time"

var (
	begun      = time.Now()
	begunNanos = begun.UnixNano()
)

// nanos is t in Unix nanoseconds, going by the monotonic clock if t has it: the wall clock may be set back, and what is due in a
// second would then be due that much later.
func nanos(t time.Time) int64 { return begunNanos + int64(t.Sub(begun)) }
