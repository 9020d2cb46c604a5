//go:build unix

package supervise

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// guardWait bounds how long a guardian waits for what it has killed to be gone.
	guardWait = 2 * time.Second
	// guardStart bounds how long a guardian may take to say that it is there.
	guardStart = 10 * time.Second
	// guardSend bounds how long it may take to read a line.
	guardSend = time.Second

	guardHello = "guarding\n"
)

// Guard is the guardian's work. It says on out that it is there, reads process groups from pipe and, when that ends
// because the supervisor is gone, kills them all. It returns when they are gone, after 2 s at the latest. The hidden command that
// Config.Guardian names calls it with os.Stdin and os.Stdout, before anything else, and exits when it returns.
//
// The lines are "+ ID" for a process group to be killed at the end and "- ID" for one that has ended.
func Guard(pipe io.Reader, out io.Writer) error {
	hello(out)
	groups, err := groupsOf(pipe)
	for id := range groups {
		_ = syscall.Kill(-id, syscall.SIGKILL) // also what is stopped; it may be gone already
	}
	deadline := time.Now().Add(guardWait)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for id := range groups {
		for groupAlive(id) && time.Now().Before(deadline) {
			<-tick.C
		}
	}
	return err
}

// hello says that the guardian is there. If nobody listens any more, there is work to be done, so that is no error; and
// it must not be the end: Go ends a program that writes to a pipe without a reader on descriptor 1, but on no other.
func hello(out io.Writer) {
	if f, ok := out.(*os.File); ok {
		fd, err := unix.Dup(int(f.Fd()))
		if err != nil {
			return // then the supervisor starts another guardian
		}
		unix.CloseOnExec(fd)
		other := os.NewFile(uintptr(fd), f.Name())
		defer other.Close()
		out = other
	}
	_, _ = io.WriteString(out, guardHello)
}

// groupsOf reads to the end. A line that makes no sense is passed over: of what follows something may have to be killed.
// For the same reason there are groups even with an error.
func groupsOf(pipe io.Reader) (map[int]bool, error) {
	groups := make(map[int]bool)
	lines := bufio.NewReader(pipe)
	for {
		line, err := lines.ReadString('\n')
		if sign, number, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok {
			id, err := strconv.Atoi(number)
			switch {
			case err != nil || id <= 1: // 0 and 1 would be the guardian's own group and everybody
			case sign == "+":
				groups[id] = true
			case sign == "-":
				delete(groups, id)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return groups, nil
		case err != nil:
			return groups, fmt.Errorf("guard: %w", err)
		}
	}
}

// groupAlive reports whether there is a process in the group. Where nobody reaps orphans, dead ones count, too.
func groupAlive(id int) bool {
	return !errors.Is(syscall.Kill(-id, 0), syscall.ESRCH)
}

// guardian is the supervisor's side: it keeps a guardian process running and tells it all groups.
type guardian struct {
	argv    []string
	spawner *spawner
	lock    *os.File // inherited, so that the data directory is not free before the work is done
	logger  *slog.Logger

	mu     sync.Mutex
	pid    int
	pipe   *os.File // nil while no guardian runs
	lost   bool     // the pipe was full before there was a reader
	groups map[int]bool
	closed bool
	done   chan struct{}      // keep has ended
	cancel context.CancelFunc // ends keep once the process has ended
}

// startGuardian returns when a guardian is there.
func startGuardian(ctx context.Context, argv []string, sp *spawner, lock *os.File, logger *slog.Logger) (*guardian, error) {
	keeping, cancel := context.WithCancel(context.Background()) // not ctx: it stays until all processes have ended
	g := &guardian{
		argv: argv, spawner: sp, lock: lock, logger: logger,
		groups: make(map[int]bool), done: make(chan struct{}), cancel: cancel,
	}
	if len(argv) == 0 {
		close(g.done)
		return g, nil
	}
	if err := g.launch(ctx); err != nil {
		cancel()
		return nil, err
	}
	go g.keep(keeping)
	return g, nil
}

// launch starts a guardian process, waits for its word, and tells it what there is.
func (g *guardian) launch(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("start guardian: %w", err)
		}
	}()
	in, pipe, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	hello, out, err := os.Pipe()
	if err != nil {
		pipe.Close()
		return err
	}
	defer hello.Close()
	g.tell(pipe) // before the fork: at any moment after it this process may be killed
	pid, err := g.spawner.start(command{
		argv: g.argv, env: os.Environ(), in: in, out: out, more: []*os.File{g.lock}, detached: true,
	})
	out.Close()
	if err != nil {
		g.forget()
		return err
	}
	g.adopt(pid)
	if err := expectHello(ctx, hello); err != nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		watch(pid, func(bool) {})
		g.bury(pid)
		return err
	}
	return nil
}

// tell makes pipe the way to the guardian that is about to be started, and leaves word there of what there is.
func (g *guardian) tell(pipe *os.File) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pipe = pipe
	g.sendAll()
}

// adopt makes a process the guardian.
func (g *guardian) adopt(pid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pid = pid
	if g.lost { // more than the pipe could hold without a reader
		g.lost = false
		g.sendAll()
	}
	if g.closed { // meanwhile
		g.forgetLocked()
	}
}

// forget gives up the pipe.
func (g *guardian) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forgetLocked()
}

func (g *guardian) forgetLocked() {
	if g.pipe != nil {
		g.pipe.Close()
		g.pipe = nil
	}
}

// bury reaps a guardian that has ended.
func (g *guardian) bury(pid int) syscall.WaitStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	status := reap(pid)
	g.pid = 0
	g.forgetLocked()
	return status
}

func expectHello(ctx context.Context, hello *os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = hello.SetReadDeadline(time.Now()) })
	defer stop()
	_ = hello.SetReadDeadline(time.Now().Add(guardStart)) // a pipe can; if not, it only waits longer
	if ctx.Err() != nil {
		return ctx.Err()
	}
	line, err := bufio.NewReaderSize(io.LimitReader(hello, 512), 512).ReadString('\n')
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case line == guardHello:
		return nil
	case line != "":
		return fmt.Errorf("it said %q", line)
	case errors.Is(err, io.EOF):
		return errors.New("it ended at once")
	}
	return err
}

// keep starts another guardian whenever one has ended, until ctx ends.
func (g *guardian) keep(ctx context.Context) {
	defer close(g.done)
	for {
		g.mu.Lock()
		pid := g.pid
		g.mu.Unlock()
		watch(pid, func(stopped bool) {
			if stopped { // a guardian that cannot act is none
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		})
		status := g.bury(pid)
		if ctx.Err() != nil {
			return
		}
		g.logger.Warn("guardian ended, starting another", "reason", describe(status))
		for !g.relaunch(ctx) {
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// relaunch tries once to start another guardian, and waits a while if it fails.
func (g *guardian) relaunch(ctx context.Context) bool {
	err := g.launch(ctx)
	if err == nil {
		return true
	}
	g.logger.Error("no guardian: processes would outlive a supervisor that is killed", "error", err)
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// add and remove tell the guardian of process groups.
func (g *guardian) add(id int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.groups[id] = true
	g.send(fmt.Sprintf("+ %d\n", id))
}

func (g *guardian) remove(id int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.groups, id)
	g.send(fmt.Sprintf("- %d\n", id))
}

// sendAll is called with mu held.
func (g *guardian) sendAll() {
	var all strings.Builder
	for id := range g.groups {
		fmt.Fprintf(&all, "+ %d\n", id)
	}
	g.send(all.String())
}

// send is called with mu held. A guardian that does not read is replaced; the next one is told everything.
func (g *guardian) send(lines string) {
	if g.pipe == nil || g.lost {
		return
	}
	_ = g.pipe.SetWriteDeadline(time.Now().Add(guardSend)) // a pipe can
	if _, err := io.WriteString(g.pipe, lines); err == nil {
		return
	}
	if g.pid == 0 {
		g.lost = true
	} else {
		_ = syscall.Kill(g.pid, syscall.SIGKILL)
	}
}

// close ends the guardian, which then kills what it still knows of.
func (g *guardian) close() {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return
	}
	g.closed = true
	g.cancel()
	pid := g.pid
	g.forgetLocked() // its end of file
	g.mu.Unlock()
	// It is bounded by itself. This is for one that is stopped.
	timer := time.AfterFunc(guardWait+time.Second, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if pid != 0 && g.pid == pid {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	defer timer.Stop()
	<-g.done
}
