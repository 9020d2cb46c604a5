package replica

import (
	"math"
	"time"
)

// Level says how current a Read has to be.
type Level int64

const (
	// Linearizable reads see everything that was answered before they began, wherever it was proposed. One round trip
	// to a majority, shared by all reads that wait; no clock is trusted. It is the zero value.
	Linearizable Level = 0
	// Eventual reads see what this member has applied, however old that is, also without any connection.
	Eventual Level = math.MaxInt64
)

// Stale is the level of reads that see a state which was current at most maxAge ago, by this member's own monotonic clock.
// They cost nothing while that is known already, and are linearizable when not. 0 and less is Linearizable.
func Stale(maxAge time.Duration) Level { return Level(max(0, maxAge)) }

// String is "linearizable", "eventual" or "stale 1s".
func (l Level) String() string {
	switch {
	case l <= Linearizable:
		return "linearizable"
	case l == Eventual:
		return "eventual"
	}
	return "stale " + time.Duration(l).String()
}
