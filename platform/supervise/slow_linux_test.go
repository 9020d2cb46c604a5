package supervise_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/supervise"
)

// A slowed process is stopped and goes on again and again, answers, and looks well; its successor is not slowed.
func TestSlow(t *testing.T) {
	s := running(t, config(t.TempDir()))
	check(t, s.Add(childGroup("shop", 1, "http")))
	check(t, s.WaitReady(soon(t)))
	events := s.Events()
	defer events.Stop()
	before := state(t, s, "shop-1")
	wantCode(t, s.Slow("shop-1", 1), failure.OutOfRange)
	wantCode(t, s.Slow("shop-2", 0.5), failure.NotFound)
	check(t, s.Slow("shop-1", 0.1))
	for range 3 {
		eventually(t, "stopped", func() bool { return stopped(t, before.PID) })
		eventually(t, "going on", func() bool { return !stopped(t, before.PID) })
	}
	if got := get(t, before.Addrs["http"]); got != fmt.Sprint(before.PID) {
		t.Errorf("process %s answers, want %d", got, before.PID)
	}
	// Stopped and continued by somebody else, it is still only slow.
	check(t, s.Freeze("shop-1"))
	if st := state(t, s, "shop-1").State; st != supervise.Frozen {
		t.Errorf("%s, want frozen", st)
	}
	check(t, s.Thaw("shop-1"))
	check(t, s.Slow("shop-1", 0))
	eventually(t, "in full", func() bool {
		for range 50 {
			if stopped(t, before.PID) {
				return false
			}
			get(t, before.Addrs["http"])
		}
		return true
	})
	check(t, s.Slow("shop-1", 0.5))
	check(t, s.Stop(soon(t), "shop"))
	var seen []supervise.Phase
	for {
		e, err := events.Next(soon(t))
		check(t, err)
		seen = append(seen, e.State.State)
		if e.State.State == supervise.Stopped {
			break
		}
	}
	want := fmt.Sprint([]supervise.Phase{supervise.Frozen, supervise.Ready, supervise.Draining, supervise.Stopped})
	if fmt.Sprint(seen) != want {
		t.Errorf("seen %v, want %v", seen, want)
	}
}

// stopped reports whether a process is stopped by a signal now.
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	check(t, err)
	_, after, _ := bytes.Cut(b, []byte(") "))
	return bytes.HasPrefix(after, []byte("T"))
}
