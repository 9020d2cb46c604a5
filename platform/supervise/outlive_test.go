//go:build unix

package supervise_test

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-go/holdfast/platform/supervise"
)

// kill -9 of the supervisor leaves no process behind: not children, not their children, not frozen ones. And then the
// data directory is free.
func TestNothingOutlivesTheSupervisor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pids, _, kill := supervisorProcess(t, dir)
	if len(pids) != 5 {
		t.Fatalf("got %v", pids)
	}
	kill()
	s, err := supervise.New(config(dir))
	check(t, err)
	for _, pid := range pids {
		if !gone(pid) {
			t.Errorf("process %d is still there", pid)
		}
	}
	check(t, s.Close())
}

// The same when the guardian had been killed before.
func TestGuardianIsReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pids, supervisor, kill := supervisorProcess(t, dir)
	first := guardianOf(t, supervisor)
	check(t, syscall.Kill(first, syscall.SIGKILL))
	eventually(t, "another guardian", func() bool {
		second := guardianOf(t, supervisor)
		return second != 0 && second != first
	})
	kill()
	eventually(t, "all gone", func() bool { return !slices.ContainsFunc(pids, func(pid int) bool { return !gone(pid) }) })
}

// supervisorProcess runs a supervisor in a process of its own until its services are ready.
func supervisorProcess(t *testing.T, dir string) (pids []int, supervisor int, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childMode+"=supervisor", "SUPERVISE_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(kill)
	linesOf(out, func(line string) bool {
		text, ok := strings.CutPrefix(line, "pid ")
		if pid, err := strconv.Atoi(text); ok && err == nil {
			pids = append(pids, pid)
		} else if line != "done" {
			t.Error(line)
		}
		return line != "done"
	})
	return pids, cmd.Process.Pid, kill
}

// guardianOf finds the child of a supervisor that leads a session, 0 if there is none.
func guardianOf(t *testing.T, supervisor int) int {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=,sess=,stat=").Output()
	check(t, err)
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) == 4 && f[1] == strconv.Itoa(supervisor) && strings.Contains(f[3], "s") {
			pid, _ := strconv.Atoi(f[0])
			return pid
		}
	}
	return 0
}
