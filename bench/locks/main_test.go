package main

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

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
	for name, open := range map[string]bool{"guarded": false, "a guard that lets all through": true} {
		t.Run(name, func(t *testing.T) {
			s, err := newStorage(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			s.open = open
			for _, m := range []message{
				{Op: "ended", Lock: "lock-0", Token: 1, Asked: 0, Granted: 10, Ended: 20},
				{Op: "ended", Lock: "lock-0", Token: 2, Asked: 5, Granted: 25, Ended: 40, Lost: true},
				{Op: "ended", Lock: "lock-0", Token: 3, Asked: 5, Granted: 39, Ended: 50}, // while the one before held
				{Op: "ended", Lock: "lock-0", Token: 3, Asked: 5, Granted: 60, Ended: 70}, // with its token
				{Op: "ended", Lock: "lock-1", Token: 1, Asked: 5, Granted: 10, Ended: 70}, // another lock
				{Op: "ended", Lock: election, Token: 5, Granted: 10, Ended: 70},
				{Op: "ended", Lock: election, Token: 6, Granted: 60, Ended: 80},
				{Op: "write", Lock: "lock-0", Token: 1},
				{Op: "began", Lock: "lock-0", Token: 3},
				{Op: "write", Lock: "lock-0", Token: 2}, // of one that was overtaken
				{Op: "write", Lock: "lock-1", Token: 2},
			} {
				s.take(nil, m)
			}
			stale, refused := 0, 1
			if open {
				stale, refused = 1, 0
			}
			v, err := s.verdict(t.Context())
			if err != nil || v.overlaps != 1 || v.leadOverlaps != 1 || v.shrunk != 1 || v.refused != refused || v.stale != stale ||
				v.writes != 3+stale || v.holds != 5 || v.leads != 2 || v.lost != 1 || len(v.handovers) != 2 || v.handovers[0] != 5 {
				t.Errorf("got %+v, %v", v, err)
			}
		})
	}
}

// TestProgress: a lock that nobody gets any more is found, and who waits for it.
func TestProgress(t *testing.T) {
	s, err := newStorage(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	ends := make([]net.Conn, 3)
	for i := range ends {
		var other net.Conn
		ends[i], other = net.Pipe()
		defer ends[i].Close()
		defer other.Close()
	}
	now := time.Now()
	s.take(ends[0], message{Op: "began", Lock: "lock-1", Token: 1})
	s.take(ends[0], message{Op: "began", Lock: election, Token: 1})
	s.take(ends[0], message{Op: "asks", Lock: "lock-0", Asked: now.Add(-time.Hour).UnixNano()})
	s.take(ends[1], message{Op: "asks", Lock: "lock-0", Asked: now.UnixNano()})
	s.take(ends[2], message{Op: "asks", Lock: "lock-2", Asked: now.Add(-time.Hour).UnixNano()})
	s.take(ends[2], message{Op: "began", Lock: "lock-2", Token: 1})
	if idle, old := s.progress(now, time.Minute); !slices.Equal(idle, []string{"lock-0"}) || old != 1 {
		t.Errorf("idle %v, %d old waits", idle, old)
	}
	if idle, _ := s.progress(time.Now().Add(time.Hour), time.Minute); len(idle) != locks+1 {
		t.Errorf("idle since a moment to come: %v", idle)
	}
}
