package main

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/bench/internal/trial"
	"github.com/holdfast-go/holdfast/bench/internal/work"
)

func TestMain(m *testing.M) {
	work.Child()
	child()
	goleak.VerifyTestMain(m)
}

func TestShort(t *testing.T) {
	var out strings.Builder
	if err := trial.Execute(t.Context(), program, []string{"-short", "-only", "etcd"}, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "hand-over p99") {
		t.Errorf("no figures in:\n%s", out.String())
	}
}

// TestVerdict: what must not be is found.
func TestVerdict(t *testing.T) {
	s, err := newStorage()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, m := range []message{
		{Op: "ended", Lock: "lock-0", Token: 1, Asked: 0, Granted: 10, Ended: 20},
		{Op: "ended", Lock: "lock-0", Token: 2, Asked: 5, Granted: 25, Ended: 40, Lost: true},
		{Op: "ended", Lock: "lock-0", Token: 3, Asked: 5, Granted: 39, Ended: 50}, // while the one before held
		{Op: "ended", Lock: "lock-0", Token: 3, Asked: 5, Granted: 60, Ended: 70}, // with its token
		{Op: "ended", Lock: "lock-1", Token: 1, Asked: 5, Granted: 10, Ended: 70}, // another lock
		{Op: "ended", Lock: election, Token: 5, Granted: 10, Ended: 70},
		{Op: "ended", Lock: election, Token: 6, Granted: 60, Ended: 80},
		{Op: "write", Lock: "lock-0", Token: 1},
		{Op: "write", Lock: "lock-0", Token: 3},
		{Op: "write", Lock: "lock-0", Token: 2},
		{Op: "write", Lock: "lock-1", Token: 2},
	} {
		s.take(m)
	}
	v := s.verdict()
	if v.overlaps != 1 || v.leadOverlaps != 1 || v.shrunk != 1 || v.refused != 1 || v.stale != 0 || v.writes != 3 ||
		v.holds != 5 || v.leads != 2 || v.lost != 1 || len(v.handovers) != 2 || v.handovers[0] != 5 {
		t.Errorf("got %+v", v)
	}
}
