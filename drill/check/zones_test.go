package check

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/internal/linear"
)

// histories draws what a few clients did with a register that may be none.
func histories(t *rapid.T) (ops []linear.Op) {
	n := rapid.IntRange(1, 9).Draw(t, "operations")
	written := []string{""}
	for i := range n {
		op := linear.Op{Client: i, Key: "k", Outcome: linear.Done, Call: time.Duration(rapid.IntRange(1, 12).Draw(t, "call"))}
		op.Return = op.Call + time.Duration(rapid.IntRange(0, 8).Draw(t, "takes"))
		if rapid.Bool().Draw(t, "writes") {
			op.Kind, op.Value = linear.Put, fmt.Sprint(i)
			written = append(written, op.Value)
			if rapid.IntRange(0, 3).Draw(t, "answered") == 0 {
				op.Outcome = linear.Unknown
			}
		}
		ops = append(ops, op)
	}
	for i := range ops {
		if ops[i].Kind == linear.Get {
			ops[i].Got = rapid.SampledFrom(written).Draw(t, "read")
		}
	}
	return ops
}

// What clusters decide is what a search through all orders decides.
func TestClustersDecideWhatASearchDoes(t *testing.T) {
	t.Parallel()
	good, bad := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		ops := histories(t)
		want := linear.Check(ops, nil, time.Minute).OK()
		found := contradiction(ops)
		if (found == nil) != want {
			t.Fatalf("porcupine says %v, clusters find %v in %v", want, found, ops)
		}
		if found == nil {
			good++
			return
		}
		bad++
		// What is found, and what is left of it, is a contradiction by itself, with nothing in it that was not there.
		left := shrink(found)
		for _, h := range [][]linear.Op{found, left} {
			if linear.Check(h, nil, time.Minute).OK() {
				t.Fatalf("an order explains %v, of %v", h, ops)
			}
			for _, op := range h {
				if !slices.Contains(ops, op) {
					t.Fatalf("%v is not in %v", op, ops)
				}
			}
		}
		if len(left) > 6 {
			t.Fatalf("%d operations are left: %v", len(left), left)
		}
	})
	if good < 20 || bad < 20 {
		t.Errorf("%d histories with an order and %d without: that says little", good, bad)
	}
}

// Forty writes without an answer, half of them seen, and a read of what was overwritten: a search would not come to an end.
func TestWritesWithoutAnAnswerDoNotMatter(t *testing.T) {
	t.Parallel()
	var ops []linear.Op
	at := time.Duration(0)
	now := func() time.Duration { at++; return at }
	put := func(value string, o linear.Outcome) {
		ops = append(ops, linear.Op{Client: len(ops), Kind: linear.Put, Key: "k", Value: value, Call: now(), Return: now(), Outcome: o})
	}
	get := func(value string) {
		ops = append(ops, linear.Op{Client: len(ops), Kind: linear.Get, Key: "k", Got: value, Call: now(), Return: now(), Outcome: linear.Done})
	}
	for i := range 40 {
		put(fmt.Sprint(100+i), linear.Unknown)
	}
	for i := range 20 {
		get(fmt.Sprint(100 + i))
	}
	put("1", linear.Done)
	get("139") // only now
	if found := contradiction(ops); found != nil {
		t.Errorf("an order explains it: %v", found)
	}
	put("2", linear.Done)
	get("1")
	history := operations(shrink(contradiction(ops)))
	if len(history) < 3 || len(history) > 4 || begun(history) != at-1 {
		t.Errorf("%+v", history)
	}
}
