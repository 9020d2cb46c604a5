package work

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startTimeout bounds how long a child may take to serve, on a machine that is busy.
const startTimeout = 30 * time.Second

// Process is a child process: this program again, as something else. It ends with Close, or with this process. Its
// methods are for one goroutine.
type Process struct {
	Spec Spec
	// Addr is where it serves.
	Addr string

	cmd   *exec.Cmd
	in    io.WriteCloser
	ended chan struct{}
	said  tail
}

// Start starts a child and returns once it serves. A service in a registry may not be there yet.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	p := &Process{Spec: spec}
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Process) start(ctx context.Context) error {
	arg, err := json.Marshal(p.Spec)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Spec.ID, err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Spec.ID, err)
	}
	// Not CommandContext: whoever started it closes it, also after ctx.
	p.cmd = exec.Command(self, childArg, string(arg)) //nolint:gosec // this program
	p.cmd.SysProcAttr = attributes()
	p.cmd.Stderr = &p.said
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return fmt.Errorf("start %s: %w", p.Spec.ID, err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Spec.ID, err)
	}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Spec.ID, err)
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
		_ = p.cmd.Wait() // how it ended is no news: it was told to, or start and Close say so
	}()
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case line := <-lines:
		var h hello
		if err := json.Unmarshal([]byte(line), &h); err != nil {
			p.Close()
			return fmt.Errorf("start %s: it said %q", p.Spec.ID, line)
		}
		p.Addr = h.Addr
		return nil
	case <-p.ended:
		return fmt.Errorf("start %s: it ended: %s", p.Spec.ID, p.said.String())
	case <-timeout.C:
	case <-ctx.Done():
	}
	p.Close()
	return fmt.Errorf("start %s: %w", p.Spec.ID, errors.Join(context.Cause(ctx), errors.New("it does not serve")))
}

// Restart starts a child that has ended again, at the same address.
func (p *Process) Restart(ctx context.Context) error {
	<-p.ended
	p.Spec.Addr = p.Addr
	return p.start(ctx)
}

// Set gives a server this fault instead of what it had.
func (p *Process) Set(f Fault) error {
	line, err := json.Marshal(f)
	if err == nil {
		_, err = p.in.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("tell %s: %w", p.Spec.ID, err)
	}
	return nil
}

// Kill ends the child without giving it a chance to notice.
func (p *Process) Kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// Freeze stops the child in what it does, and Thaw lets it go on.
func (p *Process) Freeze() { p.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (p *Process) Thaw() { p.signal(syscall.SIGCONT) }

// Terminate asks the child to end and waits until it has, or ctx is done.
func (p *Process) Terminate(ctx context.Context) error {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("terminate %s: %w", p.Spec.ID, context.Cause(ctx))
	}
}

// Close kills the child if it has not ended.
func (p *Process) Close() {
	p.Kill()
	_ = p.in.Close() // whoever read it is gone
}

// Said returns the last that the child has written to standard error.
func (p *Process) Said() string { return p.said.String() }

func (p *Process) signal(s syscall.Signal) {
	select {
	case <-p.ended:
	default:
		_ = p.cmd.Process.Signal(s) // it may have ended by itself just now
	}
}

// Fleet is several children.
type Fleet []*Process

// StartFleet starts a child for each spec. On an error none is left.
func StartFleet(ctx context.Context, specs ...Spec) (Fleet, error) {
	fleet := make(Fleet, len(specs))
	errs := make([]error, len(specs))
	var wg sync.WaitGroup
	for i, spec := range specs {
		wg.Go(func() { fleet[i], errs[i] = Start(ctx, spec) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		fleet.Close()
		return nil, err
	}
	return fleet, nil
}

// Addrs returns where they serve.
func (f Fleet) Addrs() []string {
	out := make([]string, len(f))
	for i, p := range f {
		out[i] = p.Addr
	}
	return out
}

// Set gives all of them this fault.
func (f Fleet) Set(fault Fault) error {
	var errs []error
	for _, p := range f {
		errs = append(errs, p.Set(fault))
	}
	return errors.Join(errs...)
}

// Close kills all of them.
func (f Fleet) Close() {
	for _, p := range f {
		if p != nil {
			p.Close()
		}
	}
}

// FreeAddr returns an address of loopback that nobody listens on, and that no outgoing connection can take either: it
// lies below the ports that systems give to those.
func FreeAddr() (string, error) {
	const first, last = 13_000, 15_000 // the measuring programs'; see internal/ports for whose the others are
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(last-first)) //nolint:gosec // a port
		if lis, err := net.Listen("tcp", addr); err == nil {
			return addr, lis.Close()
		}
	}
	return "", fmt.Errorf("no free port between %d and %d", first, last)
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
	t.text = t.text[max(0, len(t.text)-4096):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(t.text)
}
