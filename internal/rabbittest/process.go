//go:build unix

package rabbittest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// process is one life of a program.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // set before done is closed
}

// launch starts a process that ends with this one, where the kernel knows how. The thread that starts it has to live as
// long as it does.
func launch(cmd *exec.Cmd, log string) (*process, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = sysProcAttr()
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	return p, <-started
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // stopped or not
	<-p.done
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// poll tries until there is no error, the process has ended, or ctx.
func (p *process) poll(ctx context.Context, try func() error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.why()
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

var errPortTaken = errors.New("a port is taken")

// why says how the process ended, in its own words.
func (p *process) why() error {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return errors.Join(p.err, err)
	}
	if strings.Contains(string(b), "eaddrinuse") || strings.Contains(string(b), "in use by") {
		return errPortTaken
	}
	return fmt.Errorf("it ended: %w:\n%s", p.err, b[max(0, len(b)-2000):])
}
