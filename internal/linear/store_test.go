package linear_test

import (
	"bytes"
	"testing"

	"github.com/holdfast-go/holdfast/internal/linear"
)

func apply(t *testing.T, s *linear.Store, op linear.Op) linear.Op {
	t.Helper()
	answer, err := s.Apply(linear.Command(op))
	if err != nil {
		t.Fatal(err)
	}
	linear.Answer(&op, answer)
	return op
}

func TestTheStoreDoesWhatTheModelSays(t *testing.T) {
	t.Parallel()
	var s linear.Store
	apply(t, &s, put("a;"))
	if op := apply(t, &s, add("b;", 0)); op.Length != 4 || s.Get("k") != "a;b;" {
		t.Errorf("append: %v, then %q", op, s.Get("k"))
	}
	if op := apply(t, &s, swap("x", "y", true)); op.Swapped || s.Get("k") != "a;b;" {
		t.Errorf("swap of another value: %v, then %q", op, s.Get("k"))
	}
	kept := s.Snapshot()
	if op := apply(t, &s, swap("a;b;", "y", false)); !op.Swapped || s.Get("k") != "y" {
		t.Errorf("swap: %v, then %q", op, s.Get("k"))
	}
	var b bytes.Buffer
	if err := kept.Write(&b); err != nil {
		t.Fatal(err)
	}
	if err := s.Restore(&b); err != nil || s.Get("k") != "a;b;" {
		t.Errorf("restored: %q, %v", s.Get("k"), err)
	}
	for _, bad := range [][]byte{nil, {1}, {1, 200}, {9, 0, 0, 0}, {1, 0, 0}} {
		if _, err := s.Apply(bad); err == nil {
			t.Errorf("%v was taken for a command", bad)
		}
	}
}
