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
	"sync"
	"syscall"
	"time"
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
// The lines are "+ID" for a process group to be killed at the end and "-ID" for one that has ended.
func Guard(pipe io.Reader, out io.Writer) error {
	groups := make(map[int]bool)
	_, hello := io.WriteString(out, guardHello)
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			continue
		}
		id, err := strconv.Atoi(line[1:])
		if err != nil || id <= 1 { // 0 and 1 would be this process's own group and everybody
			continue
		}
		switch line[0] {
		case '+':
			groups[id] = true
		case '-':
			delete(groups, id)
		}
	}
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
	return errors.Join(hello, lines.Err())
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
	groups map[int]bool
	closed bool
	done   chan struct{} // the guardian's keeper has ended
	wake   chan struct{} // closed by close
}

// startGuardian returns when a guardian is there.
func startGuardian(ctx context.Context, argv []string, sp *spawner, lock *os.File, logger *slog.Logger) (*guardian, error) {
	g := &guardian{
		argv: argv, spawner: sp, lock: lock, logger: logger,
		groups: make(map[int]bool), done: make(chan struct{}), wake: make(chan struct{}),
	}
	if len(argv) == 0 {
		close(g.done)
		return g, nil
	}
	if err := g.launch(ctx); err != nil {
		return nil, err
	}
	go g.keep()
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
	pid, err := g.spawner.start(command{
		argv: g.argv, env: os.Environ(), in: in, out: out, more: []*os.File{g.lock}, detached: true,
	})
	out.Close()
	if err == nil {
		err = expectHello(ctx, hello)
		if err != nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			watch(pid, func(bool) {})
			reap(pid)
		}
	}
	if err != nil {
		pipe.Close()
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pid, g.pipe = pid, pipe
	if g.closed { // meanwhile
		g.pipe.Close()
		g.pipe = nil
	}
	for id := range g.groups {
		g.send('+', id)
	}
	return nil
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

// keep starts another guardian whenever one has ended, until close.
func (g *guardian) keep() {
	defer close(g.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-g.wake
		cancel()
	}()
	for {
		g.mu.Lock()
		pid := g.pid
		g.mu.Unlock()
		watch(pid, func(stopped bool) {
			if stopped { // a guardian that cannot act is none
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		})
		g.mu.Lock()
		status := reap(pid)
		if g.pipe != nil {
			g.pipe.Close()
		}
		g.pid, g.pipe = 0, nil
		closed := g.closed
		g.mu.Unlock()
		if closed {
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
	g.send('+', id)
}

func (g *guardian) remove(id int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.groups, id)
	g.send('-', id)
}

// send is called with mu held. A guardian that does not read is replaced; the next one is told everything.
func (g *guardian) send(sign byte, id int) {
	if g.pipe == nil {
		return
	}
	_ = g.pipe.SetWriteDeadline(time.Now().Add(guardSend)) // a pipe can
	if _, err := fmt.Fprintf(g.pipe, "%c%d\n", sign, id); err != nil && g.pid != 0 {
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
	close(g.wake)
	pid := g.pid
	if g.pipe != nil {
		g.pipe.Close() // its EOF
		g.pipe = nil
	}
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
