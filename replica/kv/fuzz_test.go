package kv

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica"
)

// Whatever is proposed, two members agree on it, and what it leads to can be written and read again.
func FuzzApply(f *testing.F) {
	f.Add(encodeSingle(kindPut, "a", []byte("1"), options([]WriteOption{TTL(time.Second), IfRevision(0)})))
	f.Add(encodeSingle(kindDelete, "a", nil, options(nil)))
	f.Add(encodeExpire())
	f.Add(encodeTxn(Txn{
		If:   []Compare{Absent("a"), Value("b", Less, []byte("x")), Version("c", Greater, 300)},
		Then: []Op{PutOp("a", []byte("1"), time.Hour), DeleteOp("b")}, Else: []Op{GetOp("a")},
	}))
	f.Fuzz(func(t *testing.T, command []byte) {
		if len(command) > 0 && command[0] > commandVersion {
			return // of a newer program
		}
		m, other := NewMachine(Config{}), NewMachine(Config{})
		for _, after := range []time.Duration{0, time.Hour} {
			e := replica.Entry{Time: start.Add(after), Command: command}
			a, errA := m.Apply(e)
			b, errB := other.Apply(e)
			if !bytes.Equal(a, b) || failure.CodeOf(errA) != failure.CodeOf(errB) {
				t.Fatalf("%q %v, %q %v", a, errA, b, errB)
			}
		}
		s, err := m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		var written bytes.Buffer
		if err := errors.Join(s.Write(&written), other.Restore(&written)); err != nil {
			t.Fatal(err)
		}
		if keys(m.View(), "") != keys(other.View(), "") || m.Stats() != other.Stats() {
			t.Fatalf("restored %+v of %+v", other.Stats(), m.Stats())
		}
	})
}

// What can be read is written the same, and nothing else breaks anything.
func FuzzRestore(f *testing.F) {
	m := NewMachine(Config{})
	put(f, m, 0, "a", "1", TTL(time.Second))
	put(f, m, 0, "b", "2")
	s, _ := m.Snapshot()
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		m := NewMachine(Config{})
		if m.Restore(bytes.NewReader(in)) != nil {
			return
		}
		s, err := m.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := s.Write(&out); err != nil {
			t.Fatal(err)
		}
		again := NewMachine(Config{})
		if err := again.Restore(&out); err != nil || again.Stats() != m.Stats() {
			t.Fatalf("%+v of %+v: %v", again.Stats(), m.Stats(), err)
		}
	})
}

func FuzzResult(f *testing.F) {
	f.Add(encodeTxnResult(true, 7, []txnOp{{}, {&Item{Key: "a", Value: []byte("1"), Created: 1, Revision: 2, Version: 2}, true}}))
	f.Add(encodeDeleted(300, true))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = decodeRevision(b)
		_, _, _ = decodeDeleted(b)
		_, _ = decodeTxnResult(b)
	})
}
