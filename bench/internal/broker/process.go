package broker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startTimeout bounds how long a child may take to say that it is there, on a machine that is busy.
const startTimeout = 60 * time.Second

// Process is a child: this program again, with a role as its hidden first argument and what it is to do as the second. Its
// methods are for one goroutine, PID and Said aside.
type Process struct {
	role string
	arg  string

	mu    sync.Mutex
	cmd   *exec.Cmd
	in    io.WriteCloser // it ends when this does
	ended chan struct{}
	err   error // how it ended; set before ended is closed
	said  tail
}

// StartProcess starts a child in a role and returns when it has said that it is there.
func StartProcess(ctx context.Context, role string, spec any) (*Process, error) {
	arg, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	p := &Process{role: role, arg: string(arg)}
	return p, p.Start(ctx)
}

// Role returns what this process is to do, if it is a child in that role: the spec is decoded, and the process ends with
// the one that started it.
func Role(role string, spec any) (bool, error) {
	if len(os.Args) != 3 || os.Args[1] != role {
		return false, nil
	}
	if err := json.Unmarshal([]byte(os.Args[2]), spec); err != nil {
		return true, fmt.Errorf("spec: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	return true, nil
}

// Say tells the parent that this child is there.
func Say() { fmt.Println("ready") }

// Start starts it again after Kill.
func (p *Process) Start(ctx context.Context) error {
	if err := p.start(ctx); err != nil {
		return fmt.Errorf("start %s: %w", p.role, err)
	}
	return nil
}

func (p *Process) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err //nolint:wrapcheck // by Start
	}
	// Not CommandContext: whoever started it closes it, also after ctx.
	cmd := exec.Command(self, p.role, p.arg) //nolint:gosec // this program
	cmd.SysProcAttr, cmd.Stderr = attributes(), &p.said
	in, err := cmd.StdinPipe()
	if err != nil {
		return err //nolint:wrapcheck // by Start
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err //nolint:wrapcheck // by Start
	}
	ended, ready, started := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		defer close(ended)
		// The kernel ends the child when the thread ends that started it, so nobody else may use that one meanwhile: some end
		// theirs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if started <- err; err != nil {
			return
		}
		r := bufio.NewReader(out)
		if line, err := r.ReadString('\n'); err == nil && line == "ready\n" {
			close(ready)
		}
		_, _ = io.Copy(io.Discard, r)
		err = cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
	}()
	if err := <-started; err != nil {
		return err //nolint:wrapcheck // by Start
	}
	p.mu.Lock()
	p.cmd, p.in, p.ended, p.err = cmd, in, ended, nil
	p.mu.Unlock()
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-ready:
		return nil
	case <-ended:
		return fmt.Errorf("it ended: %s", p.said.String())
	case <-timeout.C:
	case <-ctx.Done():
	}
	p.Kill()
	return errors.Join(context.Cause(ctx), fmt.Errorf("it is not there: %s", p.said.String()))
}

// Kill ends the child without giving it a chance to notice, and waits until it is gone.
func (p *Process) Kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
	_ = p.in.Close() // whoever read it is gone
}

// Terminate asks the child to end, and kills it if it has not after a while.
func (p *Process) Terminate() {
	p.signal(syscall.SIGTERM)
	t := time.NewTimer(startTimeout)
	defer t.Stop()
	select {
	case <-p.ended:
	case <-t.C:
	}
	p.Kill()
}

// Freeze stops the process as a machine that stalls does; Thaw ends that.
func (p *Process) Freeze() { p.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (p *Process) Thaw() { p.signal(syscall.SIGCONT) }

// Alive says whether it has not ended.
func (p *Process) Alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Err returns how it ended, nil if it ended well or has not.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// PID returns the number of the process.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// Said returns the last that it has written to standard error.
func (p *Process) Said() string { return p.said.String() }

func (p *Process) signal(s syscall.Signal) {
	if p.Alive() {
		_ = p.cmd.Process.Signal(s) // it may have ended by itself just now
	}
}

// freeAddr returns an address of loopback that nobody listens on, and that no outgoing connection can take either: it
// lies below the ports that systems give to those. Two calls return two.
func freeAddr() (string, error) {
	ports.Lock()
	defer ports.Unlock()
	for range 1000 {
		switch {
		case ports.next == 0:
			ports.next = firstPort + os.Getpid()*37%(lastPort-firstPort)
		case ports.next == lastPort:
			ports.next = firstPort
		}
		addr := fmt.Sprintf("127.0.0.1:%d", ports.next)
		ports.next++
		if lis, err := net.Listen("tcp", addr); err == nil {
			return addr, lis.Close() //nolint:wrapcheck // of a listener that nobody used
		}
	}
	return "", fmt.Errorf("no free port between %d and %d", firstPort, lastPort)
}

// The ports of the measuring programs; see internal/ports for whose the others are.
const (
	firstPort = 13_000
	lastPort  = 15_000 // is not among them
)

// ports is where freeAddr goes on.
var ports struct {
	sync.Mutex
	next int
}

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
