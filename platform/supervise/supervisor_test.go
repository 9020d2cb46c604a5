//go:build unix

package supervise_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
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

// pids are the processes of instances, by their IDs.
func pids(s *supervise.Supervisor) map[string]int {
	out := make(map[string]int)
	for _, st := range s.States() {
		out[st.ID] = st.PID
	}
	return out
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
	g := childGroup("shop", 2, "grpc,http")
	g.Serves = []string{"grpc", "http"} // one that listens at the first is not ready yet
	check(t, s.Add(g))
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
	if after.Restarts != 1 || after.Reason != "killed by SIGKILL, as asked for" {
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
	// What each of its processes has written is shown once.
	if begun, ok := strings.CutPrefix(crash.Output[0], "begin shop-1 "); !ok || begun == "" || !slices.Equal(crash.Output[1:], []string{"something is wrong"}) {
		t.Errorf("got %q", crash.Output)
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

// What is said to serve something is not ready before it does, and says why; so does what is not well.
func TestAnInstanceThatIsNotReadySaysWhy(t *testing.T) {
	t.Parallel()
	s := running(t, config(t.TempDir()))
	events := s.Events()
	defer events.Stop()
	g := childGroup("deaf", 1, "quiet")
	g.Serves = []string{"http"}
	check(t, s.Add(g))
	check(t, s.Add(childGroup("sick", 1, "http,not-serving")))
	said := make(map[string]string)
	for len(said) < 2 {
		e, err := events.Next(soon(t))
		check(t, err)
		if e.Late {
			said[e.ID] = e.Reason
		}
		if e.State.State != supervise.Starting {
			t.Fatalf("%+v", e)
		}
	}
	for id, want := range map[string]string{
		"deaf-1": "nothing listens at " + state(t, s, "deaf-1").Addrs["http"] + " (HOLDFAST_HTTP_ADDR)",
		"sick-1": "http " + state(t, s, "sick-1").Addrs["http"] + ": /healthz answers 503 Service Unavailable",
	} {
		if st := state(t, s, id); said[id] != want || st.Reason != want || !st.Late {
			t.Errorf("said %q, want %q: %+v", said[id], want, st)
		}
	}
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
		Service: "shop", Command: []string{"sh", "-c", "env; echo that is all; exec sleep 1000"}, Replicas: 1, Env: []string{"B=group", "C=group"},
	}))
	var said []string
	eventually(t, "printed", func() bool {
		lines, _, err := s.Logs("shop", 100, false)
		check(t, err)
		said = texts(lines)
		return slices.Contains(said, "that is all")
	})
	if !slices.ContainsFunc(said, func(l string) bool { return strings.HasPrefix(l, "HOLDFAST_HTTP_ADDR=127.0.0.1:") }) {
		t.Errorf("no address in %q", said)
	}
	for _, want := range []string{"A=config", "B=group", "C=group", "HOLDFAST_INSTANCE=shop-1"} {
		if !slices.Contains(said, want) {
			t.Errorf("no %s in %q", want, said)
		}
	}
	if slices.Contains(said, "B=config") {
		t.Errorf("B twice in %q", said)
	}
}

// elsewhere is a network in which instances are at another address of this machine.
type elsewhere struct{ asked atomic.Int32 }

func (e *elsewhere) Place(id string) (netip.Addr, *os.File, error) {
	if id == "nowhere-1" {
		return netip.Addr{}, nil, errors.New("no room")
	}
	e.asked.Add(1)
	return netip.MustParseAddr("127.0.0.77"), nil, nil
}

// In a network of its own an instance is told where it is, before every start, and keeps that.
func TestNetworkSaysWhereInstancesAre(t *testing.T) {
	cfg := config(t.TempDir())
	apart := &elsewhere{}
	cfg.Network = apart
	s := running(t, cfg)
	check(t, s.Add(supervise.Group{Service: "shop", Command: []string{"sh", "-c", "env; echo that is all; exec sleep 1000"}, Replicas: 1}))
	said := func(times int) (all []string) {
		t.Helper()
		eventually(t, "printed", func() bool {
			lines, _, err := s.Logs("shop", 1000, false)
			check(t, err)
			all = texts(lines)
			return len(slices.DeleteFunc(slices.Clone(all), func(l string) bool { return l != "that is all" })) == times
		})
		return all
	}
	for _, want := range []string{
		"HOLDFAST_GRPC_ADDR=127.0.0.77:50051", "HOLDFAST_HTTP_ADDR=127.0.0.77:8080", "HOLDFAST_REPLICA_ADDR=127.0.0.77:0", "HOLDFAST_INSECURE=true",
	} {
		if all := said(1); !slices.Contains(all, want) {
			t.Errorf("no %s in %q", want, all)
		}
	}
	check(t, s.Kill("shop-1"))
	said(2)
	if n := apart.asked.Load(); n != 2 {
		t.Errorf("it was asked %d times for 2 starts", n)
	}
	if addr := state(t, s, "shop-1").Addrs["http"]; addr != "127.0.0.77:8080" {
		t.Errorf("it is at %s", addr)
	}
	check(t, s.Add(childGroup("nowhere", 1, "http")))
	eventually(t, "said why", func() bool { return strings.Contains(state(t, s, "nowhere-1").Reason, "no room") })
}
