package autoscale

import (
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	for stat, want := range map[string]time.Duration{
		"7 (web) S 1 6 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 100":       2 * time.Second,
		"7 (a) b (c) S 1 6 7 0 -1 4194560 100 0 0 0 1 2 3 4 20 0 9 0 100":      30 * time.Millisecond,
		"7 (web) S 1 6 7 0 -1 4194560 100 0 0 0 150":                           -1,
		"7 (web) S 1 6 7 0 -1 4194560 100 0 0 0 -150 50 0":                     -1,
		"7 (web) S 1 6 7 0 -1 4194560 100 0 0 0 99999999999999999999 50 0 0 0": -1,
		"7 (web) S 1 - 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 100":       -1,
		"": -1,
	} {
		if group, got, ok := parseStat([]byte(stat)); ok != (want >= 0) || ok && (got != want || group != 6) {
			t.Errorf("%q: %d, %s, %t", stat, group, got, ok)
		}
	}
}

// TestWhatACommandLineHasStartedIsMeasured: a shell that waits uses nothing itself.
func TestWhatACommandLineHasStartedIsMeasured(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "(while :; do :; done) & wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	t.Cleanup(func() {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for groupTime(pid) < 5*clockTick {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s, of the shell alone or of nobody", groupTime(pid))
		}
	}
	if used, ok := processorTime(pid); !ok || used >= groupTime(pid) {
		t.Errorf("the shell itself used %s, %t", used, ok)
	}
}

// groupTime is what all of a group have used.
func groupTime(group int) (used time.Duration) {
	for _, of := range groupTimes()[group] {
		used += of
	}
	return used
}
