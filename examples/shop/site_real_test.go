//go:build real && linux

package shop_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/internal/ports"
	"github.com/holdfast-go/holdfast/platform/control"
)

// startLimit is for a start that builds first.
const startLimit = 5 * time.Minute

// slowDown is how long a stop may take before it is worth a look: the services drain for 2 s.
const slowDown = 8 * time.Second

var built = sync.OnceValues(build)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if b, err := built(); err == nil {
			_ = os.RemoveAll(b.dir)
		}
		os.Exit(code)
	}))
}

// binaries are the programs of the shop, holdfast and smoke.
type binaries struct{ dir string }

func (b binaries) path(name string) string { return filepath.Join(b.dir, name) }

// programs returns the programs, which are built once for all tests.
func programs(t *testing.T) binaries {
	t.Helper()
	b, err := built()
	if err != nil {
		t.Fatalf("build of the programs: %v", err)
	}
	return b
}

func build() (binaries, error) {
	dir, err := os.MkdirTemp("", "shop-real-")
	if err != nil {
		return binaries{}, err
	}
	out, err := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "../../cmd/holdfast", "./smoke",
		"./gateway", "./catalog", "./cart", "./inventory", "./orders", "./payment", "./shipping", "./notifications", "./analytics").CombinedOutput()
	if err != nil {
		_ = os.RemoveAll(dir)
		return binaries{}, fmt.Errorf("%w\n%s", err, out)
	}
	return binaries{dir}, nil
}

// site is a place to run the shop at: a data directory and ports of its own, so that it can run beside others.
type site struct {
	dir, data         string // of the system file; of what the system keeps
	control, edge     string // addresses
	sources, programs string // where the services are, as packages and as programs
	queue             string // URL of what carries messages, "" for the control members
}

func newSite(t *testing.T) *site {
	t.Helper()
	sources, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	addrs := freeAddrs(t, 2)
	return &site{
		dir: dir, data: filepath.Join(dir, "data"), control: addrs[0], edge: addrs[1],
		sources: sources, programs: programs(t).dir,
	}
}

// writeSystem writes the shop's own system file for this site: with its edge, and with the services of a directory.
func (s *site) writeSystem(t *testing.T, services string) {
	t.Helper()
	file, err := os.ReadFile("system.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(file)
	for old, now := range map[string]string{"http: 127.0.0.1:8080": "http: " + s.edge, "run: ./": "run: " + services + "/"} {
		if !strings.Contains(text, old) {
			t.Fatalf("system.yaml has no %q", old)
		}
		text = strings.ReplaceAll(text, old, now)
	}
	s.write(t, text)
}

func (s *site) write(t *testing.T, system string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "system.yaml"), []byte(system), 0o600); err != nil {
		t.Fatal(err)
	}
}

// holdfast is a command line of holdfast at this site.
func (s *site) holdfast(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), programs(t).path("holdfast"), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "HOLDFAST_CONTROL="+s.control)
	return cmd
}

// up starts the system and returns when it is ready: it said so, and its storefront is there.
func (s *site) up(t *testing.T) *running {
	t.Helper()
	begun := time.Now()
	r := s.start(t)
	select {
	case <-r.said.ready:
	case <-r.done:
		t.Fatalf("up ended: %v\n%s", r.exit, r.output())
	case <-time.After(startLimit):
		t.Fatalf("up is not ready after %v:\n%s", startLimit, r.output())
	}
	r.readyAfter = time.Since(begun)
	if status, body := r.get(t, "/api/products"); status != http.StatusOK {
		t.Fatalf("up said that it is ready; the storefront answers %d %s", status, body)
	}
	return r
}

// start starts the system and returns at once.
func (s *site) start(t *testing.T) *running {
	t.Helper()
	r := &running{
		site: s, said: &transcript{ready: make(chan struct{})}, done: make(chan struct{}), api: control.NewClient(s.control),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second},
	}
	// Not bound to t's context, which ends before the cleanup that stops it in order.
	args := []string{"up", "--control", s.control, "--data", s.data}
	if s.queue != "" {
		args = append(args, "--queue", s.queue)
	}
	r.cmd = exec.Command(programs(t).path("holdfast"), append(args, s.dir)...)
	r.cmd.Stdout, r.cmd.Stderr = r.said, r.said
	// If the tests die, so does it; the thread that starts it has to live as long as it does.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer close(r.done)
		err := r.cmd.Start()
		started <- err
		if err == nil {
			r.exit = r.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.end)
	return r
}

// running is a system that was started.
type running struct {
	*site
	cmd        *exec.Cmd
	said       *transcript
	done       chan struct{} // closed when it has ended
	exit       error         // valid then
	readyAfter time.Duration
	api        *control.Client
	http       *http.Client
	token      string // that requests which are written by hand carry; empty for none
}

// edge is the URL of the storefront.
func (r *running) edge() string { return "http://" + r.site.edge }

func (r *running) output() string { return r.said.String() }

// down stops it with the command of that name, and checks that nothing is left.
func (r *running) down(t *testing.T) {
	t.Helper()
	processes := r.processes(t)
	begun := time.Now()
	if out, err := r.holdfast(t, "down").CombinedOutput(); err != nil {
		t.Errorf("down: %v\n%s", err, out)
	}
	select {
	case <-r.done:
	case <-time.After(time.Minute):
		t.Fatalf("up has not ended a minute after down:\n%s", r.output())
	}
	if r.exit != nil {
		t.Errorf("up after down: %v\n%s", r.exit, r.output())
	}
	eventually(t, goneLimit, "all processes are gone", func() error { return left(processes, r.data) })
	took := time.Since(begun)
	t.Logf("down in %v", took.Round(time.Millisecond))
	if took > slowDown {
		t.Logf("which is slow; up printed:\n%s", r.output())
	}
}

// end stops what a failed test has left.
func (r *running) end() {
	r.api.Close()
	r.http.CloseIdleConnections()
	_ = r.cmd.Process.Signal(syscall.SIGINT) // an error if it has ended
	select {
	case <-r.done:
	case <-time.After(30 * time.Second):
		_ = r.cmd.Process.Kill()
		<-r.done
	}
}

// transcript keeps what up prints, and notes when it says that it is ready.
type transcript struct {
	mu    sync.Mutex
	text  bytes.Buffer
	ready chan struct{}
	is    bool
}

func (w *transcript) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	if !w.is && bytes.Contains(w.text.Bytes(), []byte(" is ready in ")) {
		w.is = true
		close(w.ready)
	}
	return len(p), nil
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

var _ io.Writer = (*transcript)(nil)

// freeAddrs returns loopback addresses that nobody listens at, and that no other test takes until this one ends.
func freeAddrs(t *testing.T, n int) []string {
	t.Helper()
	r, err := ports.Reserve(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Release)
	var addrs []string
	for i := range n {
		addrs = append(addrs, r.Addr(i))
	}
	return addrs
}
