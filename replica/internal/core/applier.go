package core

import (
	"io"
)

// Applier gives committed commands to a Machine, each once, and keeps what belongs to that: sessions, keys, members.
type Applier struct {
	machine Machine
}

// NewApplier returns an Applier whose state is empty. Before a member is made of it, restore it from the newest
// snapshot that the log knows; a group that was founded has one (see Founding).
func NewApplier(id uint64, m Machine) *Applier { return &Applier{machine: m} }

// Apply does one item of Work.Apply. An error is final: the state may be half changed, the member has ended; give it to
// Member.Fail.
func (a *Applier) Apply(item *Apply) error { return nil }

// Restore replaces all state by the file that a Capture wrote, for a Restore item or before New.
func (a *Applier) Restore(r io.Reader) error { return nil }

// Snapshot captures the state of now. The capture may be written by another goroutine while Apply goes on.
func (a *Applier) Snapshot() (*Capture, error) { return nil, nil }

// Mark returns how far the state is.
func (a *Applier) Mark() Mark { return Mark{} }

// Members returns the table of members, by ID.
func (a *Applier) Members() []MemberInfo { return nil }
