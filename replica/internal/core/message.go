package core

import (
	"go.etcd.io/raft/v3/raftpb"
)

// Message is what one member says to another of its group. Exactly one of Raft, Forward, Refused is set.
type Message struct {
	From, To uint64
	// Raft is a message of raft. Entries in it are shared with the log: read only.
	Raft *raftpb.Message
	// Forward carries a batch to the leader.
	Forward *Forward
	// Refused says that a batch was not taken: it is not in the log.
	Refused *Refused
	// Snapshot is set where Raft announces a snapshot: the file of this mark goes to the peer first (durable there
	// before it calls Receive), and Member.SnapshotSent tells how it went. ParseMessage sets it, too.
	Snapshot *Mark
}

// Forward is a batch on its way from the member that made it to the leader.
type Forward struct {
	Number uint64 // of this batch in its member's incarnation; the same when it is sent again
	Term   uint64 // in which the sender saw the receiver lead
	Batch  []byte
}

// Refused answers a Forward.
type Refused struct {
	Number uint64
	Leader uint64 // who leads as far as the refuser knows; 0 unknown. The refuser itself: it has no room, try again
}

// AppendBinary appends the wire form of m to b.
func (m *Message) AppendBinary(b []byte) ([]byte, error) { return b, nil }

// ParseMessage reads the wire form of a message. b must not change afterwards: parts of it are kept.
// It fails for anything that a member does not send; what is left open (who From is) the caller checks.
func ParseMessage(b []byte) (Message, error) { return Message{}, nil }
