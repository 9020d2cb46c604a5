package holdfast_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast"
)

// asService makes this test binary a service instead: its value says which.
const asService = "TEST_AS_SERVICE"

func serveAsProcess() {
	svc := holdfast.New("process")
	svc.HandleFunc("GET /wait", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "begun\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	if os.Getenv(asService) == "failing" {
		svc.Handle("wrong", http.NotFoundHandler())
	}
	holdfast.Main(svc)
}

// process is a service in a process of its own.
type process struct {
	*exec.Cmd
	stderr *bytes.Buffer
	addr   string // of HTTP, once it serves
}

func startProcess(t *testing.T, kind string, env ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	p := &process{Cmd: exec.CommandContext(ctx, os.Args[0]), stderr: &bytes.Buffer{}}
	p.Env = append(os.Environ(), asService+"="+kind, "GORACE=atexit_sleep_ms=0")
	p.Env = append(p.Env, env...)
	r, w := io.Pipe()
	p.Stderr = io.MultiWriter(p.stderr, w)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(r)
	found := make(chan string, 1)
	go func() {
		for lines.Scan() {
			if _, addr, ok := strings.Cut(lines.Text(), " http="); ok {
				found <- addr
			}
		}
		close(found)
	}()
	t.Cleanup(func() {
		w.Close()
		for range found { //nolint:revive // until the reader has ended
		}
	})
	if kind == "serving" {
		select {
		case p.addr = <-found:
		case <-time.After(patience):
			p.Process.Kill()
			t.Fatalf("it does not serve:\n%s", p.stderr)
		}
		eventually(t, "it answers", func() bool {
			_, err := get(t.Context(), plain, "http://"+p.addr+"/healthz")
			return err == nil
		})
	}
	return p
}

// exit waits and returns the exit code.
func (p *process) exit() int {
	p.Wait()
	return p.ProcessState.ExitCode()
}

func TestMainDrainsOnSIGTERM(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := startProcess(t, "serving", "HOLDFAST_DRAIN_DELAY=100ms")
		if err := p.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if code := p.exit(); code != 0 {
			t.Errorf("%v: exit code %d\n%s", sig, code, p.stderr)
		}
		for _, want := range []string{"signal=", "msg=draining", "msg=stopped"} {
			if !strings.Contains(p.stderr.String(), want) {
				t.Errorf("%v: %q is missing in\n%s", sig, want, p.stderr)
			}
		}
	}
}

// Ctrl-C also ends the tee that the log goes to, and the drain goes on without it.
func TestMainDrainsWhenNobodyReadsItsLog(t *testing.T) {
	cmd, r, w := startPiped(t)
	w.Close()
	r.Close()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestASecondSignalExitsAtOnce(t *testing.T) {
	p := startProcess(t, "serving", "HOLDFAST_DRAIN_DELAY=1m")
	p.Process.Signal(syscall.SIGTERM)
	eventually(t, "draining", func() bool {
		_, err := get(t.Context(), plain, "http://"+p.addr+"/healthz")
		return err != nil && err.Error() == "503 Service Unavailable"
	})
	p.Process.Signal(syscall.SIGTERM)
	if code := p.exit(); code != 1 {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
}

// A log shipper that is frozen, or a Ctrl-S, leaves standard error full: whatever the drain does then, a second signal ends it.
func TestASecondSignalExitsThoughItsLogIsStuck(t *testing.T) {
	cmd, _, w := startPiped(t)
	fill(t, w)
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} { // two of a kind could be taken for one
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("it ended with %v", cmd.ProcessState)
	}
}

// startPiped starts a service that logs to a pipe, of which both ends are ours too, and returns when it serves.
func startPiped(t *testing.T) (cmd *exec.Cmd, r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(func() {
		cancel()
		r.Close()
		w.Close()
	})
	cmd = exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), asService+"=serving", "GORACE=atexit_sleep_ms=0", "HOLDFAST_DRAIN_DELAY=10ms")
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = r.SetReadDeadline(time.Now().Add(30 * time.Second)) // of one that ends before, whose pipe stays open
	log := bufio.NewScanner(r)
	for log.Scan() {
		if strings.Contains(log.Text(), " http=") {
			return cmd, r, w
		}
	}
	t.Fatal("it does not serve: ", log.Err())
	return nil, nil, nil
}

// fill writes to a pipe until nothing more goes into it, and leaves it blocking, as who has its other end expects.
func fill(t *testing.T, w *os.File) {
	t.Helper()
	fd := int(w.Fd())
	if err := syscall.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{4096, 1} {
		for {
			if _, err := syscall.Write(fd, make([]byte, size)); errors.Is(err, syscall.EAGAIN) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := syscall.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
}

func TestWrongSettingsExitWith2(t *testing.T) {
	p := startProcess(t, "misconfigured", "HOLDFAST_LOG=xml", "HOLDFAST_REGISTRY=consul://h:1")
	if code := p.exit(); code != 2 {
		t.Errorf("exit code %d", code)
	}
	lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "HOLDFAST_LOG: ") || !strings.HasPrefix(lines[1], "HOLDFAST_REGISTRY: ") {
		t.Errorf("says\n%s", p.stderr)
	}
}

func TestAFailureExitsWith1(t *testing.T) {
	p := startProcess(t, "failing")
	if code := p.exit(); code != 1 || !strings.Contains(p.stderr.String(), `handle \"wrong\"`) {
		t.Errorf("exit code %d\n%s", code, p.stderr)
	}
}
