package kv

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Results are kept by all members: what is put over or deleted does not travel with them.
func TestOnlyGetsReturnValues(t *testing.T) {
	m := NewMachine(Config{})
	large := strings.Repeat("x", 512<<10)
	var drop Txn
	for i := range 64 {
		put(t, m, 0, fmt.Sprint(i), large)
		drop.Then = append(drop.Then, PutOp(fmt.Sprint(i), nil, 0), DeleteOp(fmt.Sprint(i)))
	}
	b, err := apply(m, 0, encodeTxn(drop))
	if err != nil || len(b) > 16<<10 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	r, err := decodeTxnResult(b)
	if err != nil || len(r.Before) != 128 || r.Before[0].Revision != 1 || len(r.Before[0].Value) != 0 || r.Before[127].Revision != 65 {
		t.Errorf("%+v, %v", r, err)
	}
	if s := m.Stats(); s.Keys != 0 || s.Bytes != 0 {
		t.Errorf("%+v", s)
	}
}

func TestATransactionThatFindsTooMuchChangesNothing(t *testing.T) {
	long := strings.Repeat("k", MaxKeyBytes)
	for name, c := range map[string]struct {
		bytes int // of the value that is there before
		then  []Op
		fits  bool
	}{
		"as much as fits":     {MaxResultBytes/2 - 2*itemOverhead, []Op{GetOp("a"), GetOp("a"), PutOp("b", nil, 0)}, true},
		"one byte more":       {MaxResultBytes / 2, []Op{PutOp("b", nil, 0), GetOp("a"), GetOp("a")}, false},
		"what it has written": {0, []Op{PutOp("b", make([]byte, MaxResultBytes), 0), GetOp("b")}, false},
		"what it has deleted": {MaxResultBytes, []Op{DeleteOp("a"), GetOp("a"), PutOp("b", nil, 0)}, true},
		"made smaller":        {MaxResultBytes, []Op{PutOp("a", nil, 0), GetOp("a"), PutOp("b", nil, 0)}, true},
		"names alone":         {0, append(many(GetOp(long), 1023), PutOp(long, nil, 0)), true},
		"names of what is":    {0, append([]Op{PutOp(long, nil, 0)}, many(DeleteOp("a"), 10)...), true},
	} {
		m := NewMachine(Config{})
		put(t, m, 0, "a", strings.Repeat("x", c.bytes))
		before := m.Stats()
		b, err := apply(m, 0, encodeTxn(Txn{Then: c.then}))
		switch {
		case c.fits && (err != nil || len(b) > MaxResultBytes || m.Stats().Revision != before.Revision+1):
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		case !c.fits && (!errors.Is(err, ErrResultTooLarge) || m.Stats() != before):
			t.Errorf("%s: %v, %+v", name, err, m.Stats())
		}
	}
	m := NewMachine(Config{})
	put(t, m, 0, long, "")
	if _, err := apply(m, 0, encodeTxn(Txn{Then: many(GetOp(long), 1024)})); !errors.Is(err, ErrResultTooLarge) {
		t.Errorf("names: %v", err)
	}
}

func many(op Op, n int) (ops []Op) {
	for range n {
		ops = append(ops, op)
	}
	return ops
}

// The size that is foreseen is never below that of the result.
func TestAResultIsNotLargerThanForeseen(t *testing.T) {
	m := NewMachine(Config{})
	m.revision = 1 << 62
	put(t, m, 0, "a", "1", TTL(1<<62))
	cmd, err := decodeCommand(encodeTxn(Txn{Then: append(many(GetOp("a"), 500), many(PutOp("a", []byte("22"), 1<<62), 500)...)}))
	if err != nil {
		t.Fatal(err)
	}
	foreseen := m.resultSize(cmd.then)
	b, err := m.txn(&cmd)
	if err != nil || len(b) > foreseen {
		t.Errorf("%d bytes, %d foreseen, %v", len(b), foreseen, err)
	}
}
