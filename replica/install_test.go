package replica

import (
	"errors"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/replica/internal/core"
	"github.com/holdfast-go/holdfast/replica/internal/snap"
	"github.com/holdfast-go/holdfast/replica/internal/transport"
)

func TestAMessageOfASnapshotCountsOnlyWithItsFile(t *testing.T) {
	inBubble(t, 3, three, func(w *world) {
		w.startAll()
		lead := w.leader()
		lead.put("x", "1")
		b := w.boxes["a"]
		if b == lead {
			b = w.boxes["b"]
		}
		m, from := b.g.member.Load(), lead.g.member.Load()
		var voters []uint64
		for _, i := range m.applier.Members() {
			voters = append(voters, i.ID)
		}
		mark := core.Mark{Index: 1000, Term: from.core.Status().Term}
		body, err := (&core.Message{From: from.id, To: m.id, Raft: &raftpb.Message{
			Type: raftpb.MsgSnap.Enum(), From: proto.Uint64(from.id), To: proto.Uint64(m.id), Term: proto.Uint64(mark.Term),
			Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
				Index: proto.Uint64(mark.Index), Term: proto.Uint64(mark.Term), ConfState: &raftpb.ConfState{Voters: voters},
			}},
		}}).AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if msg, err := core.ParseMessage(body); err != nil || msg.Snapshot == nil {
			t.Fatalf("the test's own message: %v", err)
		}
		a := transport.Address{Group: b.g.id, Cluster: m.cluster, From: from.id, To: m.id}
		m.heard(lead.name, a, body)
		there := b.host.snaps.List(b.g.id)[0]
		for _, id := range []snap.ID{there, {Group: b.g.id, Index: mark.Index, Term: mark.Term, Nonce: 7}} {
			if err := m.installed(lead.name, a, id, body); !errors.Is(err, errNoSnapshot) {
				t.Errorf("%+v: %v", id, err)
			}
		}
		time.Sleep(time.Second) //nolint:forbidigo // in virtual time
		b.put("x", "2")
		b.want("x", "2")
	})
}
