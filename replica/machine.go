package replica

import (
	"io"
	"time"
)

// Machine is replicated state. Each member of a group has one, and all of them go through the same entries in the same
// order: what Apply does must follow from the machine's state and the Entry alone, never from a clock, randomness, the
// order of a map or the machine it runs on.
//
// Apply, Snapshot and Restore are never called at the same time. Functions given to Group.Read may run beside them: a
// machine that is read has a lock of its own.
type Machine interface {
	// Apply applies a command. The result, and an error, are what Propose returns,
	// wherever it was called: err is an answer of the machine, such as "out of stock", and is kept and passed on as a
	// failure.Error, without its cause. It is not a fault. A panic stops the member for good, since the others will do
	// the same. All members keep results until the callers have them: keep them small. One of more than 16 MiB is replaced
	// by ErrResultTooLarge, though the command has been applied. The Command must not be changed, nor kept beyond the call; the result belongs to the caller of Apply.
	Apply(e Entry) (result []byte, err error)

	// Snapshot returns a view of the state as it is now, quickly: proposals wait meanwhile. Its Write runs beside later
	// Applies, so it is a copy, or copied on write.
	Snapshot() (Snapshot, error)

	// Restore replaces all of the state by what some member's Snapshot has written, perhaps an older version of the
	// program. When it fails the member stops.
	Restore(r io.Reader) error
}

// Snapshot is the state of a Machine at one point. Write is called at most once, by one goroutine; Release always is,
// once, last.
type Snapshot interface {
	Write(w io.Writer) error
	Release()
}

// Entry is a command at its place in the order.
type Entry struct {
	// Index numbers the commands of the group, from 1, without gaps.
	Index uint64
	// Time is the leader's clock when it took the command, in UTC, to the nanosecond. It is the same on each member and
	// never goes back along the order, whatever the clocks do.
	Time time.Time
	// Command is what was proposed.
	Command []byte
}
