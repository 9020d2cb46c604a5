package core

import (
	"bytes"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

func FuzzParseMessage(f *testing.F) {
	for _, m := range []Message{
		{From: 1, To: 2, Forward: &Forward{Number: 9, Batch: commandOf(7, 1, "c", "k")}},
		{From: 1, To: 2, Forward: &Forward{Number: 9, Batch: openBatch(1, 2)}},
		{From: 1, To: 2, Refused: &Refused{Number: 9, Leader: 3}},
		{From: 1, To: 2, Raft: &raftpb.Message{Type: raftpb.MsgHeartbeatResp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(3)), Context: make([]byte, 8)}},
		{From: 1, To: 2, Raft: &raftpb.Message{
			Type: raftpb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(3)), Index: new(uint64(4)),
			Entries: []*raftpb.Entry{{Index: new(uint64(5)), Term: new(uint64(3)), Data: entryOf(1, commandOf(7, 1, "c"))}},
		}},
	} {
		b, err := m.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		again, err := m.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseMessage(again); err != nil {
			t.Fatal(err)
		}
	})
}

// raft takes the number of a read for granted.
func TestAHeartbeatWithHalfANumberIsRefused(t *testing.T) {
	for n, ok := range map[int]bool{0: true, 3: false, 8: true, 9: false} {
		m := Message{From: 1, To: 2, Raft: &raftpb.Message{
			Type: raftpb.MsgHeartbeatResp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(3)), Context: make([]byte, n),
		}}
		b, err := m.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseMessage(b); (err == nil) != ok {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// FuzzEntry applies what might be in a log: it is refused or applied, and what it leaves can be saved and restored.
func FuzzEntry(f *testing.F) {
	f.Add(entryOf(1, openBatch(5, 7), commandOf(2, 1, "a", "k"), commandOf(2, 3, "b")))
	f.Add(entryOf(1, commandOf(1, 1, "fail")))
	f.Fuzz(func(t *testing.T, b []byte) {
		a := NewApplier(1, &counter{})
		a.sessions.open(1, 1, 1)
		if a.applyEntry(2, b) != nil {
			return
		}
		c, err := a.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		if err := c.Write(&file); err != nil {
			t.Fatal(err)
		}
		if err := NewApplier(1, &counter{}).Restore(&file); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzSnapshot(f *testing.F) {
	var file bytes.Buffer
	if err := Founding([]MemberInfo{{ID: 1, Name: "a"}}).Write(&file); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes()[len(snapshotMagic)+8:])
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := parseState(b)
		if err != nil {
			return
		}
		again, err := st.append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseState(again); err != nil {
			t.Fatal(err)
		}
	})
}
