package core

import (
	"io"
	"time"
)

// Machine is the state that is replicated. Apply, Snapshot and Restore are called by one goroutine, never two at once.
type Machine interface {
	// Apply does one command, the same way on every member: no clock but e.Time, no randomness, no order of a map. An
	// error is an answer like any other; it is kept as a failure.Error. A result or an error over MaxResult is replaced by
	// ErrResultTooLarge: the command has been applied. A panic ends the member.
	Apply(e Entry) (result []byte, err error)
	// Snapshot returns the state of now. It is quick; what it returns is written while later commands are applied.
	Snapshot() (MachineSnapshot, error)
	// Restore replaces the whole state by what a MachineSnapshot wrote.
	Restore(r io.Reader) error
}

// MachineSnapshot is the state of a Machine at one index.
type MachineSnapshot interface {
	// Write writes the state. It may run beside Machine.Apply.
	Write(w io.Writer) error
	// Release is called once, after the last Write or instead of it.
	Release()
}

// Entry is one command as a Machine sees it.
type Entry struct {
	// Index numbers the commands that reached the machine since the group was founded: 1, 2, 3… A command that is
	// repeated does not reach it twice.
	Index uint64
	// Time is when the leader put the command into the log, by the leader's clock. It never goes back along the log.
	Time time.Time
	// Command is what was proposed. It belongs to the log: neither change it nor keep it beyond Apply without a copy
	// (a sub-slice kept alive keeps the whole entry alive).
	Command []byte
}
