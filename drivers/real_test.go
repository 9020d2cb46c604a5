//go:build real && linux

package drivers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/drivers"
	"github.com/holdfast-go/holdfast/internal/consultest"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/rest"
)

const role = "HOLDFAST_DRIVERS_TEST"

// TestMain is also the services of the system under test: front asks hello.
func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "hello":
		svc := holdfast.New("hello", holdfast.Drivers(drivers.All()...))
		svc.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "Hello, %s! This is %s.\n", r.PathValue("name"), svc.Settings().Instance)
		})
		holdfast.Main(svc)
	case "front":
		svc := holdfast.New("front", holdfast.Drivers(drivers.All()...))
		svc.Handle("GET /hello/", &httputil.ReverseProxy{
			Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "hello"}) },
			Transport:    svc.HTTPClient().Transport,
			ErrorHandler: rest.Error,
		})
		holdfast.Main(svc)
	}
	os.Exit(m.Run())
}

// TestRealSystemOnConsul: a small system of `holdfast up` has its registry in a Consul that is killed, forgets
// everything, hangs, and comes back, while calls go on and instances are killed and restarted. No call fails, and all
// instances are registered in the end, looking as any other service does.
func TestRealSystemOnConsul(t *testing.T) {
	t.Parallel()
	agent := consultest.Start(t)
	s := startSystem(t, "consul://"+agent.Addr())
	calls := s.load(t)
	phase := func(what string, long time.Duration, f func()) {
		t.Helper()
		f()
		<-time.After(long)
		t.Logf("%-40s %s", what, calls)
	}
	phase("all is well", 2*time.Second, func() {})
	phase("Consul is killed", 4*time.Second, agent.Kill)
	phase("an instance is killed meanwhile", 3*time.Second, func() { steer(t)(s.api.Kill(t.Context(), "hello-1", false)) })
	phase("an instance is restarted in order", 3*time.Second, func() { steer(t)(s.api.Restart(t.Context(), "hello-2")) })
	phase("Consul is back, empty", 4*time.Second, agent.RestartEmpty)
	agreed(t, agent.Addr(), map[string]int{"hello": 3, "front": 2})
	phase("Consul hangs", 14*time.Second, func() { ok(t, agent.Freeze()) })
	phase("an instance is killed meanwhile", 3*time.Second, func() { steer(t)(s.api.Kill(t.Context(), "hello-3", false)) })
	phase("Consul goes on", 4*time.Second, func() { ok(t, agent.Thaw()) })
	agreed(t, agent.Addr(), map[string]int{"hello": 3, "front": 2})
	phase("every instance is restarted", 2*time.Second, func() { steer(t)(s.api.Restart(t.Context(), "hello")) })
	calls.end(t)
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// site is a running system.
type site struct {
	api  *control.Client
	edge string // URL
}

// steer takes what a command of the control API returns.
func steer(t *testing.T) func([]string, error) {
	return func(_ []string, err error) {
		t.Helper()
		ok(t, err)
	}
}

// startSystem runs `holdfast up` with that registry until the test ends.
func startSystem(t *testing.T, registry string) *site {
	t.Helper()
	dir := t.TempDir()
	holdfast := filepath.Join(dir, "holdfast")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", holdfast, "../cmd/holdfast").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	self, err := os.Executable()
	ok(t, err)
	controlAddr, edgeAddr := freeAddr(t), freeAddr(t)
	file := fmt.Sprintf(`
system: greeter
registry: %s
services:
  front: {run: %q, replicas: 2, http: %q, needs: [hello], env: {%s: front}}
  hello: {run: %q, replicas: 3, env: {%s: hello}}
`, registry, self, edgeAddr, role, self, role)
	ok(t, os.WriteFile(filepath.Join(dir, "system.yaml"), []byte(file), 0o600))

	// Not bound to t's context, which ends before the cleanup that stops it in order.
	cmd := exec.Command(holdfast, "up", "--control", controlAddr, "--data", filepath.Join(dir, "data"), dir)
	said := &transcript{ready: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.Env = append(os.Environ(), role+"=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // with the thread that starts it
	done := make(chan error, 1)
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			err = cmd.Wait()
		}
		done <- err
	}()
	ok(t, <-started)
	s := &site{api: control.NewClient(controlAddr), edge: "http://" + edgeAddr}
	t.Cleanup(func() {
		s.api.Close()
		_ = cmd.Process.Signal(syscall.SIGINT) // an error if it has ended
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("up ended: %v\n%s", err, said)
			}
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			t.Errorf("up does not end:\n%s", said)
		}
		if t.Failed() {
			t.Logf("up printed:\n%s", said)
		}
	})
	select {
	case <-said.ready:
	case err := <-done:
		done <- err
		t.Fatalf("up ended: %v\n%s", err, said)
	case <-time.After(2 * time.Minute):
		t.Fatalf("up is not ready:\n%s", said)
	}
	return s
}

// freeAddr returns an address of loopback that nobody listens at and no outgoing connection can take.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(5_000))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

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

// load is calls, fifty a second, each on time whatever became of those before.
type load struct {
	stop func()
	wg   sync.WaitGroup

	mu     sync.Mutex
	good   int
	failed []string
}

func (s *site) load(t *testing.T) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	l.stop = sync.OnceFunc(func() {
		cancel()
		l.wg.Wait()
		client.CloseIdleConnections()
	})
	t.Cleanup(l.stop)
	l.wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				l.wg.Go(func() { l.note(call(client, s.edge+"/hello/you")) })
			}
		}
	})
	return l
}

func call(client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, b)
	}
	if err == nil && !strings.HasPrefix(string(b), "Hello, you! This is hello-") {
		err = fmt.Errorf("says %q", b)
	}
	return err
}

func (l *load) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.good++
	} else {
		l.failed = append(l.failed, time.Now().Format("15:04:05.000 ")+err.Error())
	}
}

func (l *load) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%5d calls, %d failed", l.good+len(l.failed), len(l.failed))
}

// end stops the calls and says what became of them.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	if len(l.failed) > 0 || l.good < 1000 {
		t.Errorf("%s; the first:\n%s", l, strings.Join(l.failed[:min(10, len(l.failed))], "\n"))
	}
}

// agreed waits until an agent, asked as any tool would, has that many healthy instances of each service.
func agreed(t *testing.T, agent string, want map[string]int) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var errs []error
		for service, n := range want {
			var entries []struct {
				Service struct {
					Address string
					Port    int
					Tags    []string
				}
			}
			resp, err := http.Get("http://" + agent + "/v1/health/service/" + service + "?passing")
			if err == nil {
				err = json.NewDecoder(resp.Body).Decode(&entries)
				resp.Body.Close()
			}
			if err == nil && len(entries) != n {
				err = fmt.Errorf("%s has %d instances, not %d", service, len(entries), n)
			}
			for _, e := range entries {
				if e.Service.Address != "127.0.0.1" || e.Service.Port == 0 || len(e.Service.Tags) != 1 || e.Service.Tags[0] != "http" {
					err = fmt.Errorf("%s looks like %+v", service, e)
				}
			}
			errs = append(errs, err)
		}
		err := errors.Join(errs...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %v", err)
		}
		<-tick.C
	}
}
