//go:build unix

package supervise_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/supervise"
)

func state(t *testing.T, s *supervise.Supervisor, id string) supervise.State {
	t.Helper()
	for _, st := range s.States() {
		if st.ID == id {
			return st
		}
	}
	t.Fatalf("no instance %s in %v", id, s.States())
	return supervise.State{}
}

func ids(s *supervise.Supervisor) []string {
	var ids []string
	for _, st := range s.States() {
		ids = append(ids, st.ID)
	}
	return ids
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code failure.Code) {
	t.Helper()
	if failure.CodeOf(err) != code {
		t.Errorf("got %v (%v), want %v", err, failure.CodeOf(err), code)
	}
}

func texts(lines []supervise.Line) []string {
	var texts []string
	for _, l := range lines {
		texts = append(texts, l.Text)
	}
	return texts
}

// A service that was killed comes back at the same address.
func TestKilledInstanceComesBack(t *testing.T) {
	s := running(t, config(t.TempDir()))
	check(t, s.Add(childGroup("shop", 2, "grpc,http")))
	check(t, s.WaitReady(soon(t)))
	before := state(t, s, "shop-1")
	if len(before.Addrs) != 2 || before.State != supervise.Ready || before.Restarts != 0 {
		t.Fatalf("%+v", before)
	}
	check(t, s.Kill("shop-1"))
	eventually(t, "restarted", func() bool {
		st := state(t, s, "shop-1")
		return st.State == supervise.Ready && st.PID != before.PID
	})
	after := state(t, s, "shop-1")
	if after.Addrs["http"] != before.Addrs["http"] || after.Addrs["grpc"] != before.Addrs["grpc"] {
		t.Errorf("addresses changed: %v, %v", before.Addrs, after.Addrs)
	}
	if after.Restarts != 1 || after.Reason != "killed by SIGKILL" {
		t.Errorf("%+v", after)
	}
	if state(t, s, "shop-2").Restarts != 0 {
		t.Error("the other one was restarted, too")
	}
}

// A port that somebody took between a crash and the restart is given up.
func TestTakenPortIsReplaced(t *testing.T) {
	s := running(t, config(t.TempDir()))
	check(t, s.Add(childGroup("shop", 1, "http")))
	check(t, s.WaitReady(soon(t)))
	before := state(t, s, "shop-1")
	if _, ok := before.Addrs["grpc"]; ok {
		t.Errorf("it does not listen on grpc: %v", before.Addrs)
	}
	// While it is frozen and dead nobody else can have the port yet, so take it as soon as it is free.
	check(t, s.Kill("shop-1"))
	var thief net.Listener
	eventually(t, "port taken or service back", func() bool {
		var err error
		thief, err = net.Listen("tcp", before.Addrs["http"])
		return err == nil || state(t, s, "shop-1").Restarts > 0
	})
	if thief != nil {
		defer thief.Close()
	}
	eventually(t, "ready again", func() bool {
		st := state(t, s, "shop-1")
		return st.State == supervise.Ready && st.Restarts > 0
	})
	after := state(t, s, "shop-1")
	if same := after.Addrs["http"] == before.Addrs["http"]; same != (thief == nil) {
		t.Errorf("thief %v, before %v, after %v", thief != nil, before.Addrs, after.Addrs)
	}
	get(t, after.Addrs["http"])
}

func get(t *testing.T, addr string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestFreezeAndThaw(t *testing.T) {
	s := running(t, config(t.TempDir()))
	check(t, s.Add(childGroup("shop", 1, "http")))
	check(t, s.WaitReady(soon(t)))
	pid := state(t, s, "shop-1").PID
	check(t, s.Freeze("shop-1"))
	if st := state(t, s, "shop-1"); st.State != supervise.Frozen || st.PID != pid {
		t.Fatalf("%+v", st)
	}
	check(t, s.Thaw("shop-1"))
	eventually(t, "ready", func() bool { return state(t, s, "shop-1").State == supervise.Ready })
	if got := get(t, state(t, s, "shop-1").Addrs["http"]); got != strconv.Itoa(pid) {
		t.Errorf("process %s answers, want %d", got, pid)
	}
	// Whoever stops it, it shows.
	check(t, syscall.Kill(pid, syscall.SIGSTOP))
	eventually(t, "frozen", func() bool { return state(t, s, "shop-1").State == supervise.Frozen })
	check(t, syscall.Kill(pid, syscall.SIGCONT))
	eventually(t, "ready", func() bool { return state(t, s, "shop-1").State == supervise.Ready })
	// A frozen one can be killed, and comes back.
	check(t, s.Freeze("shop-1"))
	check(t, s.Kill("shop-1"))
	eventually(t, "back", func() bool {
		st := state(t, s, "shop-1")
		return st.State == supervise.Ready && st.PID != pid
	})
	// A frozen one can be stopped, in order.
	check(t, s.Freeze("shop-1"))
	check(t, s.Stop(soon(t), "shop"))
	if lines, _, err := s.Logs("shop-1", 1, false); err != nil || !slices.Equal(texts(lines), []string{"end shop-1"}) {
		t.Errorf("%v, %v", lines, err)
	}
}

// A frozen process that starts is not ready, whatever a probe saw before.
func TestFrozenWhileStarting(t *testing.T) {
	s := running(t, config(t.TempDir()))
	events := s.Events()
	defer events.Stop()
	check(t, s.Add(childGroup("shop", 1, "http")))
	for {
		e, err := events.Next(soon(t))
		check(t, err)
		if e.PID != 0 {
			break
		}
	}
	if err := s.Freeze("shop-1"); err != nil {
		t.Fatal(err)
	}
	check(t, s.Thaw("shop-1"))
	check(t, s.WaitReady(soon(t)))
}

func TestCrashLoopShows(t *testing.T) {
	t.Parallel()
	s := running(t, config(t.TempDir()))
	check(t, s.Add(childGroup("shop", 1, "crash")))
	err := s.WaitReady(soon(t))
	var crash *supervise.CrashError
	if !errors.As(err, &crash) || crash.ID != "shop-1" || crash.Reason != "exit status 3" ||
		!slices.Contains(crash.Output, "something is wrong") {
		t.Fatalf("got %v", err)
	}
	if st := state(t, s, "shop-1"); st.State != supervise.Looping && st.State != supervise.Starting || st.Restarts < 4 {
		t.Errorf("%+v", st)
	}
}

func TestProgramMissing(t *testing.T) {
	t.Parallel()
	s := running(t, config(t.TempDir()))
	check(t, s.Add(supervise.Group{Service: "shop", Command: []string{"./no-such-program"}, Replicas: 1}))
	err := s.WaitReady(soon(t))
	var crash *supervise.CrashError
	if !errors.As(err, &crash) || !strings.Contains(crash.Reason, "start ./no-such-program: no such file") {
		t.Fatalf("got %v", err)
	}
	if err := s.Kill("shop-1"); err != nil {
		wantCode(t, err, failure.FailedPrecondition)
	}
}

func TestRollingRestart(t *testing.T) {
	s := running(t, config(t.TempDir()))
	check(t, s.Add(childGroup("shop", 2, "http")))
	check(t, s.WaitReady(soon(t)))
	events := s.Events()
	defer events.Stop()
	check(t, s.Restart(soon(t), "shop"))
	// shop-3 for shop-1, then shop-1 for shop-2.
	if got := ids(s); !slices.Equal(got, []string{"shop-1", "shop-3"}) {
		t.Errorf("got %v", got)
	}
	var order []string
	for len(order) < 6 {
		e, err := events.Next(soon(t))
		check(t, err)
		switch e.State.State {
		case supervise.Ready, supervise.Draining, supervise.Stopped:
			order = append(order, e.ID+" "+string(e.State.State))
		}
	}
	want := []string{
		"shop-3 ready", "shop-1 draining", "shop-1 stopped", "shop-1 ready", "shop-2 draining", "shop-2 stopped",
	}
	if !slices.Equal(order, want) {
		t.Errorf("got %q", order)
	}
	// One instance alone.
	pid := state(t, s, "shop-3").PID
	check(t, s.Restart(soon(t), "shop", "shop-1"))
	if got := ids(s); !slices.Equal(got, []string{"shop-2", "shop-3"}) || state(t, s, "shop-3").PID != pid {
		t.Errorf("got %v", got)
	}
	wantCode(t, s.Restart(soon(t), "shop", "shop-9"), failure.NotFound)
}

// A replacement that does not become ready is taken away, and the old one stays.
func TestRollingRestartThatFails(t *testing.T) {
	switchFile := filepath.Join(t.TempDir(), "broken")
	s := running(t, config(t.TempDir()))
	g := childGroup("shop", 2, "http")
	g.Command = []string{"sh", "-c", `[ ! -e "$1" ] || exit 7; exec "$2"`, "sh", switchFile, os.Args[0]}
	check(t, s.Add(g))
	check(t, s.WaitReady(soon(t)))
	before := s.States()
	check(t, os.WriteFile(switchFile, nil, 0o644))
	err := s.Restart(soon(t), "shop")
	var crash *supervise.CrashError
	if !errors.As(err, &crash) || crash.ID != "shop-3" || crash.Reason != "exit status 7" {
		t.Errorf("got %v", err)
	}
	after := s.States()
	if len(after) != 2 || after[0].PID != before[0].PID || after[1].PID != before[1].PID {
		t.Errorf("before %v, after %v", before, after)
	}
}

func TestScale(t *testing.T) {
	s := running(t, config(t.TempDir()))
	check(t, s.Add(childGroup("shop", 1, "http")))
	check(t, s.WaitReady(soon(t)))
	check(t, s.Scale(soon(t), "shop", 4))
	addrs := make(map[string]bool)
	for _, st := range s.States() {
		if st.State != supervise.Ready {
			t.Errorf("%+v", st)
		}
		addrs[st.Addrs["http"]] = true
	}
	if len(addrs) != 4 {
		t.Errorf("addresses clash: %v", s.States())
	}
	check(t, s.Scale(soon(t), "shop", 2))
	if got := ids(s); !slices.Equal(got, []string{"shop-1", "shop-2"}) {
		t.Errorf("got %v", got)
	}
	check(t, s.Scale(soon(t), "shop", 0))
	wantCode(t, s.Scale(soon(t), "shop", 65), failure.OutOfRange)
	wantCode(t, s.Scale(soon(t), "shop", -1), failure.OutOfRange)
	wantCode(t, s.Scale(soon(t), "shob", 1), failure.NotFound)
	wantCode(t, s.Kill("shop-1"), failure.NotFound)
	wantCode(t, s.Add(childGroup("shop", 1, "http")), failure.AlreadyExists)
}

func TestCommandsExcludeEachOther(t *testing.T) {
	s := running(t, config(t.TempDir()))
	check(t, s.Add(childGroup("shop", 1, "http,not-serving")))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Scale(ctx, "shop", 2) }()
	eventually(t, "scaled", func() bool { return len(s.States()) == 2 })
	wantCode(t, s.Restart(soon(t), "shop"), failure.Aborted)
	for _, st := range s.States() {
		if st.State != supervise.Starting {
			t.Errorf("not serving, but %+v", st)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if len(s.States()) != 2 {
		t.Errorf("%v", s.States())
	}
}

// Members keep their names, addresses and places.
func TestFixedGroup(t *testing.T) {
	dir := t.TempDir()
	cfg := config(dir)
	addrs, err := supervise.Addresses(filepath.Join(dir, "addresses.json"), "a", "b")
	check(t, err)
	s := running(t, cfg)
	g := childGroup("control", 0, "grpc")
	for _, id := range []string{"a", "b"} {
		g.Members = append(g.Members, supervise.Member{ID: id, Addrs: map[string]string{"grpc": addrs[id]}})
	}
	check(t, s.Add(g))
	check(t, s.WaitReady(soon(t)))
	wantCode(t, s.Scale(soon(t), "control", 3), failure.FailedPrecondition)
	before := state(t, s, "a")
	check(t, s.Kill("a"))
	eventually(t, "back", func() bool {
		st := state(t, s, "a")
		return st.State == supervise.Ready && st.PID != before.PID
	})
	check(t, s.Restart(soon(t), "control", "a"))
	if st := state(t, s, "a"); st.Addrs["grpc"] != addrs["a"] || st.State != supervise.Ready {
		t.Errorf("%+v", st)
	}
	check(t, s.Stop(soon(t), "control"))
	check(t, s.Restart(soon(t), "control"))
	if got := ids(s); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %v", got)
	}
}

// A parent such as go run: its child gets the signal, may finish, and does not outlive it.
func TestStopReachesGrandchildren(t *testing.T) {
	for _, mode := range []string{"parent", "parent-dies"} {
		t.Run(mode, func(t *testing.T) {
			s := running(t, config(t.TempDir()))
			check(t, s.Add(childGroup("shop", 1, mode)))
			check(t, s.WaitReady(soon(t)))
			check(t, s.Stop(soon(t), "shop"))
			lines, _, err := s.Logs("shop", 100, false)
			check(t, err)
			said := texts(lines)
			if !slices.Contains(said, "finishing") || said[len(said)-1] != "end shop-1" {
				t.Errorf("got %q", said)
			}
		})
	}
}

// When the parent of a service crashes, the service goes with it: it would hold the address.
func TestCrashTakesGrandchildren(t *testing.T) {
	s := running(t, config(t.TempDir()))
	check(t, s.Add(childGroup("shop", 1, "parent")))
	check(t, s.WaitReady(soon(t)))
	before := state(t, s, "shop-1")
	check(t, syscall.Kill(before.PID, syscall.SIGKILL))
	eventually(t, "back", func() bool {
		st := state(t, s, "shop-1")
		return st.State == supervise.Ready && st.PID != before.PID
	})
	if st := state(t, s, "shop-1"); st.Addrs["http"] != before.Addrs["http"] {
		t.Errorf("before %+v, after %+v", before, st)
	}
}

func TestStubbornProcessIsKilled(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.StopTimeout = 50 * time.Millisecond
	s := running(t, cfg)
	check(t, s.Add(childGroup("shop", 1, "http,stubborn")))
	check(t, s.WaitReady(soon(t)))
	pid := state(t, s, "shop-1").PID
	check(t, s.Stop(soon(t), "shop"))
	if !gone(pid) {
		t.Error("still there")
	}
}

// What does not listen is a service without interfaces.
func TestReadyWithoutPorts(t *testing.T) {
	t.Parallel()
	s := running(t, config(t.TempDir()))
	check(t, s.Add(childGroup("worker", 1, "quiet")))
	check(t, s.WaitReady(soon(t)))
}

func TestWavesStopInReverse(t *testing.T) {
	s, stop := startSupervisor(t, config(t.TempDir()))
	for wave, service := range []string{"control", "inventory", "gateway"} {
		g := childGroup(service, 1, "http,slow-end")
		g.Wave = wave
		check(t, s.Add(g))
	}
	check(t, s.WaitReady(soon(t)))
	events := s.Events()
	defer events.Stop()
	stop()
	var order []string
	for {
		e, err := events.Next(soon(t))
		if errors.Is(err, io.EOF) {
			break
		}
		check(t, err)
		order = append(order, e.ID+" "+string(e.State.State))
	}
	want := []string{
		"gateway-1 draining", "gateway-1 stopped", "inventory-1 draining", "inventory-1 stopped",
		"control-1 draining", "control-1 stopped",
	}
	if !slices.Equal(order, want) {
		t.Errorf("got %q", order)
	}
	wantCode(t, s.Scale(soon(t), "gateway", 2), failure.Unavailable)
	wantCode(t, s.WaitReady(soon(t)), failure.Unavailable)
}

func TestAddBeforeRun(t *testing.T) {
	s, err := supervise.New(config(t.TempDir()))
	check(t, err)
	check(t, s.Add(childGroup("shop", 1, "http")))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	check(t, s.WaitReady(soon(t)))
	wantCode(t, s.Run(ctx), failure.FailedPrecondition)
	cancel()
	check(t, <-ended)
}

func TestGuardianThatDoesNotStart(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.Guardian = []string{"true"}
	s, err := supervise.New(cfg)
	check(t, err)
	if err := s.Run(soon(t)); err == nil || !strings.Contains(err.Error(), "start guardian: it ended at once") {
		t.Errorf("got %v", err)
	}
}

func TestDataDirectoryInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := supervise.New(config(dir))
	check(t, err)
	_, err = supervise.New(config(dir))
	wantCode(t, err, failure.AlreadyExists)
	if !strings.Contains(err.Error(), "in use by process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("got %v", err)
	}
	check(t, s.Close())
	s, err = supervise.New(config(dir))
	check(t, err)
	check(t, s.Close())
}

// The environment of a service: later settings win, and there is one of each.
func TestEnvironment(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.Env = []string{"PATH=" + os.Getenv("PATH"), "A=config", "B=config", "HOLDFAST_INSTANCE=wrong"}
	s := running(t, cfg)
	check(t, s.Add(supervise.Group{
		Service: "shop", Command: []string{"sh", "-c", "env; exec cat /dev/stdin -"}, Replicas: 1, Env: []string{"B=group", "C=group"},
	}))
	var said []string
	eventually(t, "printed", func() bool {
		lines, _, err := s.Logs("shop", 100, false)
		check(t, err)
		said = texts(lines)
		return slices.ContainsFunc(said, func(l string) bool { return strings.HasPrefix(l, "HOLDFAST_HTTP_ADDR=127.0.0.1:") })
	})
	for _, want := range []string{"A=config", "B=group", "C=group", "HOLDFAST_INSTANCE=shop-1"} {
		if !slices.Contains(said, want) {
			t.Errorf("no %s in %q", want, said)
		}
	}
	if slices.Contains(said, "B=config") {
		t.Errorf("B twice in %q", said)
	}
}

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
