package resilience

import (
	"context"
	"time"
)

// Deadline returns when a call made with ctx at now has to be over. It is never zero. p may be nil for the defaults.
//
//   - ctx has a deadline of its own: that one, or now + p.Timeout if it is set and earlier.
//   - ctx has none: now + p.Timeout (5 s by default).
//   - ctx comes from a request being served ([WithRequest]): what remains less a margin for the answer's way back
//     (5 %, at least 2 ms, at most 50 ms), or now + p.Timeout (5 s by default) if that is earlier.
//
// With an inherited deadline that has passed, the result is not after now.
func Deadline(ctx context.Context, now time.Time, p *Policy) time.Time {
	given, ok := ctx.Deadline()
	if !ok {
		return now.Add(p.timeout())
	}
	if Incoming(ctx) {
		given = given.Add(-margin(given.Sub(now)))
	} else if p == nil || p.Timeout <= 0 {
		return given
	}
	if own := now.Add(p.timeout()); own.Before(given) {
		return own
	}
	return given
}

// margin is what is left of an inherited deadline for the way back.
func margin(remaining time.Duration) time.Duration {
	return min(max(remaining/20, 2*time.Millisecond), 50*time.Millisecond)
}

// Spared is what an attempt is given when its time ran out while this process stood still: enough to read an answer that
// has come meanwhile.
const Spared = 250 * time.Millisecond

// StoodStill reports whether a timer that rang so late says that this process, or its machine, was stopped. Whoever has
// been asked is not to blame for the time then, and may have answered.
func StoodStill(late time.Duration) bool { return late >= Spared }
