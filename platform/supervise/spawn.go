//go:build unix

package supervise

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/holdfast-go/holdfast/internal/thread"
)

// spawner starts processes from one thread that lives as long as the spawner. On Linux a child can ask to be killed when
// its parent dies, but "parent" is the thread that forked it, and Go's threads come and go.
type spawner struct {
	requests chan spawnRequest
	done     chan struct{}
}

type spawnRequest struct {
	cmd    command
	answer chan<- spawnAnswer
}

type spawnAnswer struct {
	pid int
	err error
}

// command is a process to be started, in a process group of its own.
type command struct {
	argv []string
	dir  string // "" for that of this process
	env  []string
	out  *os.File   // standard output and standard error
	in   *os.File   // standard input
	more []*os.File // from descriptor 3 on

	netns *os.File // the network namespace to start in; nil for that of this process

	// detached: it outlives this process and is out of reach of the terminal.
	detached bool
}

func newSpawner() *spawner {
	s := &spawner{requests: make(chan spawnRequest), done: make(chan struct{})}
	thread.Go(func() {
		defer close(s.done)
		var at whereabouts
		defer at.close()
		for r := range s.requests {
			pid, err := 0, at.enter(r.cmd.netns)
			if err == nil {
				pid, err = spawn(r.cmd)
			}
			r.answer <- spawnAnswer{pid, err}
		}
	})
	return s
}

// start starts a process. It must not be called after close.
func (s *spawner) start(c command) (pid int, err error) {
	answer := make(chan spawnAnswer, 1)
	s.requests <- spawnRequest{c, answer}
	a := <-answer
	return a.pid, a.err
}

// close ends the thread. On Linux what still runs of its children is killed.
func (s *spawner) close() {
	close(s.requests)
	<-s.done
}

// spawn uses the system call and not os/exec: an os.Process would reap by itself, and the end of a process has to be
// seen before its id is free for somebody else.
func spawn(c command) (int, error) {
	program, err := lookup(c.argv[0], c.dir)
	if err != nil {
		return 0, err
	}
	files := []uintptr{c.in.Fd(), c.out.Fd(), c.out.Fd()}
	for _, f := range c.more {
		files = append(files, f.Fd())
	}
	pid, err := syscall.ForkExec(program, c.argv, &syscall.ProcAttr{Dir: c.dir, Env: c.env, Files: files, Sys: sysProcAttr(c.detached)})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", c.argv[0], err)
	}
	return pid, nil
}

// lookup finds a program as a shell in dir would.
func lookup(name, dir string) (string, error) {
	if !strings.ContainsRune(name, filepath.Separator) {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("start %s: %w", name, err)
		}
		return path, nil
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if !filepath.IsAbs(path) { // exec happens in dir, so a path relative to this process would not do
		abs, err := filepath.Abs(path)
		if err != nil {
			return "", fmt.Errorf("start %s: %w", name, err)
		}
		path = abs
	}
	return path, nil
}

// describe says how a process ended, in words.
func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		name := signalNames[status.Signal()]
		if name == "" {
			name = fmt.Sprintf("signal %d", status.Signal())
		}
		return "killed by " + name
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}

// signalNames are those that end processes in practice; syscall's texts ("killed") do not name the signal.
var signalNames = map[syscall.Signal]string{
	syscall.SIGABRT: "SIGABRT", syscall.SIGBUS: "SIGBUS", syscall.SIGFPE: "SIGFPE", syscall.SIGHUP: "SIGHUP",
	syscall.SIGILL: "SIGILL", syscall.SIGINT: "SIGINT", syscall.SIGKILL: "SIGKILL", syscall.SIGPIPE: "SIGPIPE",
	syscall.SIGQUIT: "SIGQUIT", syscall.SIGSEGV: "SIGSEGV", syscall.SIGTERM: "SIGTERM", syscall.SIGTRAP: "SIGTRAP",
}
