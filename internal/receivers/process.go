//go:build unix

package receivers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const (
	startTimeout = 3 * time.Minute // of which a machine with nothing else to do takes a second
	pollEvery    = 50 * time.Millisecond
	// startTries is for a port that somebody else took between its choice and its use.
	startTries = 5
)

// built returns the path of a program that `make TARGET` puts into the user's cache.
func built(dir, name, target string) (string, error) {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find %s: %w", name, err)
		}
		cache = filepath.Join(home, ".cache")
	}
	program := filepath.Join(cache, "holdfast", dir, name)
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("find %s: %w: run `make %s` first", name, err, target)
	}
	return program, nil
}

// retry starts something again that found a port taken.
func retry[T any](start func() (T, error)) (T, error) {
	var errs []error
	for range startTries {
		v, err := start()
		if err == nil {
			return v, nil
		}
		errs = append(errs, err)
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	var none T
	return none, errors.Join(errs...)
}

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
	for _, kv := range os.Environ() { // what is meant for those that send is not for those that receive
		if !strings.HasPrefix(kv, "OTEL_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
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
	if p == nil || p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// ready polls until url answers 200, the process has ended, or ctx.
func (p *process) ready(ctx context.Context, url string) error {
	return p.poll(ctx, func(ctx context.Context) error {
		_, err := get(ctx, url)
		return err
	})
}

func (p *process) poll(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.why()
		case <-ctx.Done():
			return fmt.Errorf("%w: %w\n%s", ctx.Err(), err, p.tail())
		case <-tick.C:
		}
	}
}

// answers polls until all addresses take connections, the process has ended, or ctx.
func (p *process) answers(ctx context.Context, addrs ...string) error {
	return p.poll(ctx, func(ctx context.Context) error {
		for _, addr := range addrs {
			var d net.Dialer
			c, err := d.DialContext(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			c.Close()
		}
		return nil
	})
}

var errPortTaken = errors.New("a port is taken")

// why says how the process ended, in its own words.
func (p *process) why() error {
	said := p.tail()
	if strings.Contains(said, "address already in use") {
		return errPortTaken
	}
	return fmt.Errorf("it ended: %w:\n%s", p.err, said)
}

func (p *process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}

// client keeps no connection, so that nothing of it is left when a test ends.
var client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
