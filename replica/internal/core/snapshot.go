package core

import (
	"io"

	"go.etcd.io/raft/v3/raftpb"
)

// Capture is the state of a group at one index: a header of this package's, then the machine's bytes.
type Capture struct {
	Mark Mark
	conf *raftpb.ConfState
}

// Write writes the file's content; the caller makes it durable.
func (c *Capture) Write(w io.Writer) error { return nil }

// Release frees the machine's part. Call it once, after Write or instead of it.
func (c *Capture) Release() {}

// Header is what can be known of a snapshot file without its machine.
type Header struct {
	Mark    Mark
	Members []MemberInfo
}

// ReadHeader reads the beginning of a snapshot file.
func ReadHeader(r io.Reader) (Header, error) { return Header{}, nil }

// Founding returns the first snapshot of a group, the same bytes on every founding member: index 1, term 1, these
// voters, a machine that was never restored.
func Founding(members []MemberInfo) *Capture { return nil }
