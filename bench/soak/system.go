package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/internal/ports"
	"github.com/holdfast-go/holdfast/platform/control"
	config "github.com/holdfast-go/holdfast/platform/system"
)

const (
	startTimeout = 10 * time.Minute // it builds first
	stopTimeout  = 30 * time.Second
)

// system is the shop as `holdfast up` runs it, at addresses of its own.
type system struct {
	dir    string
	ports  *ports.Reserved
	edge   string         // URL
	want   map[string]int // processes by service
	cmd    *exec.Cmd
	said   *tail
	done   chan struct{}
	client *control.Client
}

func start(ctx context.Context, s settings, out io.Writer) (_ *system, err error) {
	sys := &system{said: &tail{}, done: make(chan struct{})}
	if sys.dir, err = os.MkdirTemp("", "holdfast-soak-"); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	defer func() {
		if err != nil {
			sys.stop()
		}
	}()
	program := s.holdfast
	if program == "" {
		program = filepath.Join(sys.dir, "holdfast")
		if said, err := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/holdfast").CombinedOutput(); err != nil { //nolint:gosec // a directory of ours
			return nil, fmt.Errorf("build: %w\n%s", err, said)
		}
	}
	held, err := ports.Reserve(2)
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	sys.ports = held
	addrs := [2]string{held.Addr(0), held.Addr(1)}
	sys.edge = "http://" + addrs[1]
	if err := sys.file(s.dir, addrs[1]); err != nil {
		return nil, err
	}
	sys.cmd = exec.Command(program, "up", "--control", addrs[0], "--data", filepath.Join(sys.dir, "data"), sys.dir) //nolint:gosec // what the user names
	sys.cmd.Stdout, sys.cmd.Stderr = sys.said, sys.said
	if err := sys.cmd.Start(); err != nil {
		sys.cmd = nil
		return nil, fmt.Errorf("start: %w", err)
	}
	go func() {
		defer close(sys.done)
		_ = sys.cmd.Wait()
	}()
	sys.client = control.NewClient(addrs[0])
	begun := time.Now()
	if err := sys.ready(ctx); err != nil {
		return nil, fmt.Errorf("start: %w\n%s", err, sys.said)
	}
	fmt.Fprintf(out, "the shop is ready, after %v, pid %d\n", time.Since(begun).Round(time.Second), sys.cmd.Process.Pid)
	return sys, nil
}

// file writes the system file of the shop, at an address of its own.
func (sys *system) file(dir, addr string) error {
	text, err := os.ReadFile(filepath.Join(dir, "system.yaml"))
	if err != nil {
		return fmt.Errorf("system file: %w", err)
	}
	sources, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("system file: %w", err)
	}
	changed := strings.ReplaceAll(string(text), "run: ./", "run: "+sources+"/")
	changed = strings.ReplaceAll(changed, "http: 127.0.0.1:8080", "http: "+addr)
	if !strings.Contains(changed, addr) {
		return errors.New("system file: nobody listens at 127.0.0.1:8080")
	}
	if err := os.WriteFile(filepath.Join(sys.dir, "system.yaml"), []byte(changed), 0o600); err != nil {
		return fmt.Errorf("system file: %w", err)
	}
	read, err := config.Parse("system.yaml", []byte(changed))
	if err != nil {
		return fmt.Errorf("system file: %w", err)
	}
	sys.want = map[string]int{platform: 1, "control": read.Control.Members}
	for _, one := range read.Services {
		sys.want[one.Name] = one.Replicas
	}
	return nil
}

// ready waits until the system says that it is.
func (sys *system) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := sys.client.System(ctx)
		if err == nil && info.State == control.Ready {
			return nil
		}
		select {
		case <-tick.C:
		case <-sys.done:
			return errors.New("it ended")
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// stop ends it and removes what it has written. It is idempotent.
func (sys *system) stop() {
	if sys.client != nil {
		sys.client.Close()
	}
	if sys.cmd != nil {
		_ = sys.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-sys.done:
		case <-time.After(stopTimeout):
			_ = sys.cmd.Process.Kill()
			<-sys.done
		}
	}
	sys.ports.Release()
	_ = os.RemoveAll(sys.dir)
}

// tail keeps the end of what a program prints.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const keptOutput = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > 2*keptOutput {
		t.b = bytes.Clone(t.b[len(t.b)-keptOutput:])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
