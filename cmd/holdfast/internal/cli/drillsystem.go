//go:build unix

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/system"
)

const (
	// drillUpTime is how long a system may take until it is ready: programs may have to be built, with all that they use.
	drillUpTime = 10 * time.Minute
	// drillDownTime is how long it may take to stop.
	drillDownTime = 60 * time.Second
)

var errStillUp = errors.New("the system was not stopped in time, and was killed")

// startForDrill starts the system unless it runs, and returns what stops it again.
func (a *app) startForDrill(ctx context.Context, sys *system.System, path string, opts upOptions, guard *drillGuard, view *drillView) (stop func() error, err error) {
	c := a.client()
	defer c.Close()
	info, err := c.System(ctx)
	switch {
	case err == nil && sameDir(info.Dir, sys.Dir) && info.System == sys.Name:
		view.line(fmt.Sprintf("%s runs at %s", sys.Name, a.control))
		return func() error { return nil }, nil
	case err == nil:
		return nil, fmt.Errorf("the system %s of %s runs at %s; stop it, or choose another address with --control", info.System, info.Dir, a.control)
	case !errors.Is(err, control.ErrNotRunning):
		return nil, err
	}
	return a.startSystem(ctx, c, sys, path, opts, guard, view)
}

// sameDir compares directories that may be written in different ways.
func sameDir(one, other string) bool {
	a, err := os.Stat(one)
	b, wrong := os.Stat(other)
	return err == nil && wrong == nil && os.SameFile(a, b)
}

func (a *app) startSystem(ctx context.Context, c *control.Client, sys *system.System, path string, opts upOptions, guard *drillGuard, view *drillView) (stop func() error, err error) {
	data := opts.data
	remove, own := func() {}, ""
	if data == "" {
		if data, err = os.MkdirTemp("", "holdfast-drill-"); err != nil {
			return nil, fmt.Errorf("data directory: %w", err)
		}
		own = data
		guard.down(guardedSystem{Dir: own})
		remove = func() { _ = os.RemoveAll(data) } // what is left is the temporary directory's own business
	}
	if err := os.MkdirAll(data, 0o755); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	logPath := filepath.Join(data, "up.log")
	log, err := os.Create(logPath)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program, to start the system: %w", err)
	}
	args := append(append([]string{}, a.SelfArgs...), "up", "--control", a.control, "--data", data)
	if opts.queue != "" {
		args = append(args, "--queue", opts.queue)
	}
	if opts.noBuild {
		args = append(args, "--no-build")
	}
	if opts.netns {
		args = append(args, "--netns")
	}
	if opts.clock {
		args = append(args, "--clock")
	}
	cmd := exec.Command(self, append(args, path)...)
	cmd.Env = a.Environ()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us: what is broken is mended first
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the system: %w", err)
	}
	guard.down(guardedSystem{PID: cmd.Process.Pid, Addr: a.control, Dir: own})
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // how it ended is in its log
	}()
	stop = func() error {
		defer remove()
		view.draw("stopping " + sys.Name)
		defer view.clear()
		defer guard.down(guardedSystem{})
		return stopSystem(cmd.Process, exited)
	}
	view.draw(fmt.Sprintf("starting %s", sys.Name))
	if err := a.awaitSystem(ctx, c, exited, view); err != nil {
		view.clear()
		said := lastLines(logPath)
		if errors.Is(err, errDied) {
			remove()
			return nil, fmt.Errorf("%s could not be started\n%s", sys.Name, said)
		}
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

var errDied = errors.New("the system has ended")

// awaitSystem waits until the system is ready.
func (a *app) awaitSystem(ctx context.Context, c *control.Client, exited <-chan struct{}, view *drillView) error {
	begun := time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-exited:
			return errDied
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		info, err := c.System(ctx)
		switch {
		case err == nil && info.State == control.Ready:
			view.clear()
			view.line(fmt.Sprintf("started %s in %.0f s", info.System, time.Since(begun).Seconds()))
			return nil
		case time.Since(begun) > drillUpTime:
			return fmt.Errorf("the system was not ready after %v", drillUpTime)
		case err == nil:
			ready := 0
			for _, s := range info.Services {
				if s.Ready >= s.Replicas {
					ready++
				}
			}
			view.draw(fmt.Sprintf("%s %s, %d of %d services are ready  %.0f s", info.State, info.System, ready, len(info.Services), time.Since(begun).Seconds()))
		}
	}
}

// stopSystem stops what was started.
func stopSystem(p *os.Process, exited <-chan struct{}) error {
	_ = p.Signal(os.Interrupt) // one that is gone shows itself in exited
	select {
	case <-exited:
		return nil
	case <-time.After(drillDownTime):
		_ = p.Kill() // its guardian ends what it leaves behind
		<-exited
		return errStillUp
	}
}

// lastLines is the end of what a system said.
func lastLines(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
