//go:build unix

package kafkatest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// process is one life of a broker.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // set before done is closed
}

// launch starts a process that ends with this one, where the kernel knows how. The thread that starts it has to live as
// long as it does.
func launch(program string, args []string, log string) (*process, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &process{cmd: exec.Command(program, args...), log: log, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = f, f
	p.cmd.SysProcAttr = sysProcAttr()
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
	}()
	return p, <-started
}

var errPortTaken = errors.New("a port is taken")

// why says how the process ended, in its own words.
func (p *process) why() error {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return errors.Join(p.err, err)
	}
	if strings.Contains(string(b), "Address already in use") {
		return errPortTaken
	}
	return fmt.Errorf("it ended: %w:\n%s", p.err, b[max(0, len(b)-2000):])
}
