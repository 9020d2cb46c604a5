package core

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Two members that apply the same log have the same state, byte for byte, even if one of them was restored from a
// snapshot somewhere on the way; and no number of a session reaches the machine twice.
func TestMembersThatApplyTheSameLogAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		machines := []*counter{{}, {}}
		appliers := []*Applier{NewApplier(1, machines[0]), NewApplier(2, machines[1])}
		var known []uint64
		seen := map[string]bool{}
		for index := uint64(2); index < 2+uint64(rapid.IntRange(1, 30).Draw(t, "entries")); index++ {
			var batches [][]byte
			for range rapid.IntRange(1, 4).Draw(t, "batches") {
				if len(known) == 0 || rapid.IntRange(0, 5).Draw(t, "open") == 0 {
					batches = append(batches, openBatch(uint64(rapid.IntRange(1, 3).Draw(t, "origin")), uint64(rapid.IntRange(1, 8).Draw(t, "nonce"))))
					continue
				}
				session := rapid.SampledFrom(known).Draw(t, "session")
				seq := uint64(rapid.IntRange(1, 12).Draw(t, "seq"))
				b := appendBatchHeader(nil, session, uint64(rapid.IntRange(1, int(seq)).Draw(t, "low")), seq)
				for range rapid.IntRange(1, 3).Draw(t, "commands") {
					text := fmt.Sprintf("%d/%d", session, seq)
					key := rapid.SampledFrom([]string{"", "", "k1", "k2", "k3"}).Draw(t, "key")
					b = appendCommand(b, key, []byte(text))
					seq++
				}
				batches = append(batches, b)
			}
			h := entryHeader{
				time:    int64(rapid.IntRange(0, 100).Draw(t, "time")) * int64(time.Second),
				keyAge:  time.Duration(rapid.IntRange(0, 50).Draw(t, "age")) * time.Second,
				maxKeys: rapid.IntRange(1, 3).Draw(t, "keys"),
			}
			data := h.append(nil)
			for _, b := range batches {
				data = appendBytes(data, b)
			}
			for i, a := range appliers {
				if err := a.applyEntry(index, data); err != nil {
					t.Fatal(err)
				}
				a.mark = Mark{Index: index, Term: 1}
				if i == 1 && rapid.IntRange(0, 3).Draw(t, "restore") == 0 {
					appliers[1], machines[1] = revive(t, a)
				}
			}
			for id := range appliers[0].sessions.byID {
				if !slices.Contains(known, id) {
					known = append(known, id)
				}
			}
			slices.Sort(known) // a map has no order, and a test must have one
		}
		if !slices.Equal(machines[0].log, machines[1].log) {
			t.Fatalf("%q\n%q", machines[0].log, machines[1].log)
		}
		for _, c := range machines[0].log {
			if seen[c] {
				t.Fatalf("%s was applied twice", c)
			}
			seen[c] = true
		}
		if a, b := saved(t, appliers[0]), saved(t, appliers[1]); !bytes.Equal(a, b) {
			t.Fatalf("states differ:\n%x\n%x", a, b)
		}
	})
}

func saved(t *rapid.T, a *Applier) []byte {
	c, err := a.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func revive(t *rapid.T, a *Applier) (*Applier, *counter) {
	m := &counter{}
	b := NewApplier(a.id, m)
	if err := b.Restore(bytes.NewReader(saved(t, a))); err != nil {
		t.Fatal(err)
	}
	return b, m
}
