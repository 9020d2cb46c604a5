package core

import (
	"encoding/binary"

	"google.golang.org/protobuf/proto"

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
	Batch  []byte
}

// Refused answers a Forward.
type Refused struct {
	Number uint64
	Leader uint64 // who leads as far as the refuser knows; 0 unknown. The refuser itself: it has no room, try again
}

// The kinds of message: the first byte of the wire form, which goes on with From and To in 8 bytes each.
const (
	kindRaft = iota + 1
	kindForward
	kindRefused
)

// AppendBinary appends the wire form of m to b.
func (m *Message) AppendBinary(b []byte) ([]byte, error) {
	start := len(b)
	b = append(b, 0)
	b = binary.LittleEndian.AppendUint64(b, m.From)
	b = binary.LittleEndian.AppendUint64(b, m.To)
	switch {
	case m.Forward != nil:
		b[start] = kindForward
		b = binary.AppendUvarint(b, m.Forward.Number)
		return append(b, m.Forward.Batch...), nil
	case m.Refused != nil:
		b[start] = kindRefused
		b = binary.AppendUvarint(b, m.Refused.Number)
		return binary.AppendUvarint(b, m.Refused.Leader), nil
	}
	b[start] = kindRaft
	return proto.MarshalOptions{}.MarshalAppend(b, m.Raft)
}

// ParseMessage reads the wire form of a message. b must not change afterwards: parts of it are kept.
// It fails for anything that a member does not send; what is left open (who From is) the caller checks.
func ParseMessage(b []byte) (Message, error) {
	if len(b) < 1+16 {
		return Message{}, errMalformed
	}
	m := Message{From: binary.LittleEndian.Uint64(b[1:]), To: binary.LittleEndian.Uint64(b[9:])}
	c := cursor{b: b[17:]}
	if m.From == 0 || m.To == 0 {
		return Message{}, errMalformed
	}
	switch b[0] {
	case kindForward:
		m.Forward = &Forward{Number: c.uvarint()}
		m.Forward.Batch = c.b
		if c.bad || checkBatch(c.b) != nil {
			return Message{}, errMalformed
		}
	case kindRefused:
		m.Refused = &Refused{Number: c.uvarint(), Leader: c.uvarint()}
		if c.bad || len(c.b) != 0 {
			return Message{}, errMalformed
		}
	case kindRaft:
		m.Raft = &raftpb.Message{}
		if proto.Unmarshal(c.b, m.Raft) != nil || m.Raft.GetFrom() != m.From || m.Raft.GetTo() != m.To || !soundRaft(m.Raft) {
			return Message{}, errMalformed
		}
		if m.Raft.GetType() == raftpb.MsgSnap {
			m.Snapshot = markOf(m.Raft.GetSnapshot())
		}
	default:
		return Message{}, errMalformed
	}
	return m, nil
}

func markOf(s *raftpb.Snapshot) *Mark {
	return &Mark{Index: s.GetMetadata().GetIndex(), Term: s.GetMetadata().GetTerm()}
}

// soundRaft reports whether m is of a kind that members send each other, and whole: raft itself trusts its peers.
func soundRaft(m *raftpb.Message) bool {
	if len(m.GetResponses()) > 0 {
		return false
	}
	switch m.GetType() { //nolint:exhaustive // all others are a member's words to itself
	case raftpb.MsgApp:
		for i, e := range m.GetEntries() {
			if e.GetIndex() != m.GetIndex()+1+uint64(i) || e.GetTerm() == 0 || e.GetTerm() > m.GetTerm() || !soundEntry(e) {
				return false
			}
		}
		return m.GetTerm() > 0 && m.GetLogTerm() <= m.GetTerm()
	case raftpb.MsgSnap:
		meta := m.GetSnapshot().GetMetadata()
		return m.GetTerm() > 0 && meta.GetIndex() > 0 && meta.GetTerm() > 0 && meta.GetTerm() <= m.GetTerm() && len(meta.GetConfState().GetVoters()) > 0
	case raftpb.MsgReadIndex, raftpb.MsgReadIndexResp:
		return len(m.GetEntries()) == 1 && len(m.GetEntries()[0].GetData()) <= 64
	case raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp:
		// The context is the number of a read, which raft takes as it comes.
		return m.GetTerm() > 0 && len(m.GetEntries()) == 0 && (len(m.GetContext()) == 0 || len(m.GetContext()) == 8)
	case raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp, raftpb.MsgTimeoutNow:
		return m.GetTerm() > 0 && len(m.GetEntries()) == 0
	case raftpb.MsgTransferLeader:
		return len(m.GetEntries()) == 0
	}
	return false
}

func soundEntry(e *raftpb.Entry) bool {
	if e.GetType() == raftpb.EntryNormal && len(e.GetData()) > 0 {
		_, _, err := parseEntryHeader(e.GetData())
		return err == nil
	}
	return e.GetType() == raftpb.EntryNormal || e.GetType() == raftpb.EntryConfChangeV2
}
