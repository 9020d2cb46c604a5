package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startTimeout bounds how long a child may take to say where it serves, on a machine that is busy.
const startTimeout = 30 * time.Second

// childArg is the hidden first argument of this program as a member; the second is its Spec.
const childArg = "bench-member"

// Spec is what a child process is to be.
type Spec struct {
	Engine string
	Name   string
	// Dir is where its data is.
	Dir string
	// Addr is where it serves clients, Peers where each member, itself included, serves the others.
	Addr  string
	Peers map[string]string
	// Members is how many found the group.
	Members  int
	Election time.Duration
	// SnapshotEntries and SnapshotBytes are when Holdfast takes snapshots; 0 is its default.
	SnapshotEntries int
	SnapshotBytes   int64
	// SnapshotRate is Holdfast's; 0 is its default.
	SnapshotRate int64
	// Profile is a directory for a CPU profile of the child, written when it is terminated.
	Profile string
}

// hello is the line that a child writes once it serves.
type hello struct{ Addr string }

// process is a child: this program again, as a member.
type process struct {
	spec Spec

	cmd   *exec.Cmd
	in    io.WriteCloser
	ended chan struct{}
	said  tail
}

func startProcess(ctx context.Context, spec Spec) (*process, error) {
	p := &process{spec: spec}
	if err := p.start(ctx); err != nil {
		return nil, fmt.Errorf("start %s %s: %w", spec.Engine, spec.Name, err)
	}
	return p, nil
}

func (p *process) start(ctx context.Context) error {
	arg, err := json.Marshal(p.spec)
	if err != nil {
		return err //nolint:wrapcheck // by startProcess
	}
	self, err := os.Executable()
	if err != nil {
		return err //nolint:wrapcheck // by startProcess
	}
	// Not CommandContext: whoever started it closes it, also after ctx.
	p.cmd = exec.Command(self, childArg, string(arg)) //nolint:gosec // this program
	p.cmd.SysProcAttr = attributes()
	p.cmd.Stderr = &p.said
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return err //nolint:wrapcheck // by startProcess
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err //nolint:wrapcheck // by startProcess
	}
	if err := p.cmd.Start(); err != nil {
		return err //nolint:wrapcheck // by startProcess
	}
	p.ended = make(chan struct{})
	lines := make(chan string, 1)
	go func() {
		defer close(p.ended)
		r := bufio.NewReader(out)
		if line, err := r.ReadString('\n'); err == nil {
			lines <- line
		}
		_, _ = io.Copy(io.Discard, r)
		_ = p.cmd.Wait() // how it ended is no news: it was told to, or its text says so
	}()
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case line := <-lines:
		var h hello
		if err := json.Unmarshal([]byte(line), &h); err != nil {
			p.close()
			return fmt.Errorf("it said %q", line)
		}
		return nil
	case <-p.ended:
		return fmt.Errorf("it ended: %s", p.said.String())
	case <-timeout.C:
	case <-ctx.Done():
	}
	p.close()
	return errors.Join(context.Cause(ctx), errors.New("it does not serve"))
}

// restart starts a child that has ended again, as what it was.
func (p *process) restart(ctx context.Context) error {
	<-p.ended
	if err := p.start(ctx); err != nil {
		return fmt.Errorf("start %s %s again: %w", p.spec.Engine, p.spec.Name, err)
	}
	return nil
}

// kill ends the child without giving it a chance to notice.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// terminate asks the child to end and waits until it has.
func (p *process) terminate() {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(startTimeout):
		p.kill()
	}
}

func (p *process) close() {
	p.kill()
	_ = p.in.Close() // whoever read it is gone
}

func (p *process) signal(s syscall.Signal) {
	select {
	case <-p.ended:
	default:
		_ = p.cmd.Process.Signal(s) // it may have ended by itself just now
	}
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex
	text string
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text += string(p)
	t.text = t.text[max(0, len(t.text)-8192):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(t.text)
}
