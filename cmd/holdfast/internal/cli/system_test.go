//go:build unix

package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/ports"
	"github.com/holdfast-go/holdfast/platform/control"
)

// runningSystem is a system that runs in this test, with what its up printed.
type runningSystem struct {
	*line      // of up
	dir        string
	control    string
	interrupts chan os.Signal
	code       chan int
}

// up runs "holdfast up" on a system file and waits until it is ready. The test ends it.
func up(t *testing.T, file string, args ...string) *runningSystem {
	t.Helper()
	s := start(t, file, args...)
	s.await(t, "is ready in")
	return s
}

// start runs "holdfast up" without waiting for anything.
func start(t *testing.T, file string, args ...string) *runningSystem {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "system.yaml"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	return startIn(t, dir, args...)
}

func startIn(t *testing.T, dir string, args ...string) *runningSystem {
	t.Helper()
	s := &runningSystem{dir: dir, control: freeAddr(t), interrupts: make(chan os.Signal, 4), code: make(chan int, 1)}
	s.line = &line{env: map[string]string{"HOLDFAST_CONTROL": s.control}, interrupts: s.interrupts}
	go func() {
		s.code <- s.run(append([]string{"up", "--data", filepath.Join(dir, "data"), dir}, args...)...)
	}()
	t.Cleanup(func() {
		s.interrupts <- os.Interrupt
		s.interrupts <- os.Interrupt // not in a hurry to learn that something hangs, but a test has to end
		select {
		case <-s.code:
		case <-time.After(30 * time.Second):
			t.Errorf("up has not ended; it printed:\n%s", s.out.String())
		}
	})
	return s
}

// await waits until up has printed text.
func (s *runningSystem) await(t *testing.T, text string) {
	t.Helper()
	s.awaitTimes(t, 1, text)
}

// awaitTimes waits until up has printed text so many times.
func (s *runningSystem) awaitTimes(t *testing.T, times int, text string) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for strings.Count(s.out.String(), text) < times {
		select {
		case code := <-s.code:
			s.code <- code
			t.Fatalf("up ended with %d before it printed %q:\n%s%s", code, text, s.out.String(), s.err.String())
		case <-deadline.C:
			t.Fatalf("up has not printed %q:\n%s", text, s.out.String())
		case <-tick.C:
		}
	}
}

// end waits for up's exit code.
func (s *runningSystem) end(t *testing.T) int {
	t.Helper()
	select {
	case code := <-s.code:
		s.code <- code
		return code
	case <-time.After(30 * time.Second):
		t.Fatalf("up has not ended:\n%s", s.out.String())
		return -1
	}
}

// do runs another command line against the system.
func (s *runningSystem) do(t *testing.T, args ...string) string {
	t.Helper()
	l := &line{env: s.env}
	if code := l.run(args...); code != 0 {
		t.Errorf("holdfast %s: exit code %d: %s", strings.Join(args, " "), code, l.err.String())
	}
	return l.out.String()
}

func (s *runningSystem) ps(t *testing.T) map[string]control.Instance {
	t.Helper()
	var list []control.Instance
	if err := json.Unmarshal([]byte(s.do(t, "ps", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	instances := make(map[string]control.Instance)
	for _, i := range list {
		instances[i.ID] = i
	}
	return instances
}

// freeAddr is one that no other test takes while nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	r, err := ports.Reserve(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Release)
	return r.Addr(0)
}

// service is the command line of a service that is this test program.
func service() string { return fmt.Sprintf("'%s' be-service", os.Args[0]) }

// withoutMembers is a system whose registry nobody answers for: it runs all the same.
func withoutMembers() string {
	return "system: small\nregistry: etcd://127.0.0.1:1\nservices:\n" +
		"  web: {run: " + yaml(service()) + ", replicas: 2, needs: [store]}\n" +
		"  store: {run: " + yaml(service()) + "}\n"
}

func yaml(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
