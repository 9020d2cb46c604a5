//go:build unix

package supervise_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/holdfast-go/holdfast/platform/supervise"
)

// childMode, in the environment, makes the test binary one of the processes that are supervised.
const childMode = "SUPERVISE_TEST_CHILD"

func TestMain(m *testing.M) {
	switch mode := os.Getenv(childMode); mode {
	case "":
		// A process with the race detector waits a second before it exits, in case there is more to report.
		os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
		goleak.VerifyTestMain(m)
	case "guard":
		if supervise.Guard(os.Stdin, os.Stdout) != nil {
			os.Exit(1)
		}
	case "supervisor":
		supervisorChild()
	default:
		child(mode)
	}
}

// child is a service. Modes are joined by a comma.
func child(modes string) {
	has := func(mode string) bool { return strings.Contains(","+modes+",", ","+mode+",") }
	fmt.Printf("begin %s %d\n", os.Getenv("HOLDFAST_INSTANCE"), os.Getpid())
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	switch {
	case has("crash"):
		fmt.Println("something is wrong")
		os.Exit(3)
	case has("stubborn"):
		signal.Ignore(syscall.SIGTERM)
	}
	if has("parent") || has("parent-dies") {
		// As go run does: the service is a grandchild, in the same group. It ends when it is terminated itself.
		grandchild := exec.Command(os.Args[0])
		grandchild.Env = append(os.Environ(), childMode+"=http,slow-end")
		grandchild.Stdout, grandchild.Stderr = os.Stdout, os.Stderr
		if err := grandchild.Start(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Printf("grandchild %d\n", grandchild.Process.Pid)
		if has("parent-dies") {
			<-terminated
			os.Exit(1)
		}
		_ = grandchild.Wait()
		return
	}
	if has("print") {
		fmt.Print("plain\n\x1b[31mred\x1b[0m\r\nbad \xff byte\nno end \tof line")
	}
	if has("grpc") {
		serveGRPC(has("not-serving"))
	}
	if has("http") {
		serveHTTP(has("not-serving"))
	}
	<-terminated
	if has("slow-end") {
		fmt.Println("finishing")
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		<-ctx.Done()
	}
	fmt.Println("end", os.Getenv("HOLDFAST_INSTANCE"))
}

func listen(variable string) net.Listener {
	l, err := net.Listen("tcp", os.Getenv(variable))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	return l
}

func serveGRPC(notServing bool) {
	s := grpc.NewServer()
	h := health.NewServer()
	if notServing {
		h.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	}
	healthpb.RegisterHealthServer(s, h)
	l := listen("HOLDFAST_GRPC_ADDR")
	go func() { _ = s.Serve(l) }()
}

func serveHTTP(notServing bool) {
	l := listen("HOLDFAST_HTTP_ADDR")
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if notServing {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			fmt.Fprintln(w, os.Getpid())
		}))
	}()
}

// supervisorChild is a process that supervises others until it is killed. It prints their ids.
func supervisorChild() {
	s, err := supervise.New(config(os.Getenv("SUPERVISE_TEST_DIR")))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(context.Background()) }()
	err = errors.Join(
		s.Add(childGroup("plain", 2, "http,stubborn")),
		s.Add(childGroup("nested", 1, "parent")),
		s.Add(childGroup("frozen", 1, "grpc")),
	)
	if err == nil {
		err = s.WaitReady(context.Background())
	}
	if err == nil {
		err = s.Freeze("frozen-1")
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	lines, _, _ := s.Logs("nested", 100, false)
	for _, line := range lines {
		if pid, ok := strings.CutPrefix(line.Text, "grandchild "); ok {
			fmt.Println("pid", pid)
		}
	}
	for _, state := range s.States() {
		fmt.Println("pid", state.PID)
	}
	fmt.Println("done")
	fmt.Println(<-ended)
}

// config is for supervisors of tests, with a guardian.
func config(dir string) supervise.Config {
	return supervise.Config{
		Dir:      dir,
		Guardian: []string{"/usr/bin/env", childMode + "=guard", os.Args[0]},
		Env:      os.Environ(),
	}
}

// childGroup is a group of this binary in a child mode.
func childGroup(service string, replicas int, modes string) supervise.Group {
	return supervise.Group{
		Service: service, Command: []string{os.Args[0]}, Env: []string{childMode + "=" + modes}, Replicas: replicas,
	}
}

// running starts a supervisor that is stopped at the end of the test.
func running(t *testing.T, cfg supervise.Config) *supervise.Supervisor {
	t.Helper()
	s, stop := startSupervisor(t, cfg)
	t.Cleanup(stop)
	return s
}

func startSupervisor(t *testing.T, cfg supervise.Config) (s *supervise.Supervisor, stop func()) {
	t.Helper()
	s, err := supervise.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-ended:
		cancel()
		t.Fatal("Run:", err)
	}
	return s, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error("Run:", err)
		}
	}
}

// soon is the deadline of whatever a test waits for; it is only reached when the test fails.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := soon(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("never:", what)
		}
	}
}

// gone reports whether a process is gone; an orphan that nobody reaps is.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	out, err := exec.Command("ps", "-o", "stat=", "-p", fmt.Sprint(pid)).Output()
	return err != nil || strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}

// linesOf reads the lines of a child process that a test runs itself.
func linesOf(r io.Reader, each func(string) (more bool)) {
	for s := bufio.NewScanner(r); s.Scan(); {
		if !each(s.Text()) {
			return
		}
	}
}
