//go:build unix

// Package pgtest runs a real PostgreSQL as a child process, for tests and for programs that measure. It needs the programs of
// PostgreSQL, version 13 or newer (Debian: postgresql); whoever runs it as root needs a user for it, too (postgres
// or nobody).
package pgtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/internal/ports"
)

const (
	startTimeout = 30 * time.Second
	pollEvery    = 10 * time.Millisecond
	startTries   = 5
)

// Config says how a server runs. The zero value works.
type Config struct {
	// Sync makes commits wait for the disk, as in production. Without it they survive Kill all the same, since the kernel
	// does: only the loss of power would lose them.
	Sync bool
	// Settings are more lines of postgresql.conf, such as "max_connections = 20".
	Settings []string
}

// Server is one PostgreSQL with its own data. Its address stays the same over restarts. Methods are for one goroutine, URL
// and Addr aside.
type Server struct {
	cfg      Config
	bin, dir string
	reserved *ports.Reserved
	password string
	owner    *syscall.Credential // nil: this process's

	mu   sync.Mutex
	proc *process // nil while it does not run
}

// Programs returns the directory of PostgreSQL's programs. The error says how to get them.
func Programs() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), "postgres")); err == nil {
				return filepath.Dir(path), nil
			}
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", errors.New("find initdb: neither in PATH nor below /usr/lib/postgresql: install PostgreSQL (Debian: apt-get install --no-install-recommends postgresql)")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

// Start makes a server with a database "test" and waits until it answers.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	bin, err := Programs()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, bin: bin, password: rand.Text()}
	// Not below the directory of a test, which nobody but this process's user may enter.
	if s.dir, err = os.MkdirTemp("", "holdfast-pg-"); err != nil {
		return nil, fmt.Errorf("start postgresql: %w", err)
	}
	if err := s.create(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("start postgresql: %w", err)
	}
	var errs []error
	for range startTries {
		s.reserved.Release()
		if s.reserved, err = ports.Reserve(1); err != nil {
			errs = append(errs, err)
			break
		}
		err := s.Start(ctx)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	s.Close()
	return nil, errors.Join(errs...)
}

// create makes the data, of a user that is not root: PostgreSQL refuses to run as that.
func (s *Server) create(ctx context.Context) error {
	if os.Getuid() == 0 {
		var err error
		if s.owner, err = somebody(); err != nil {
			return err
		}
		if err := os.Chown(s.dir, int(s.owner.Uid), int(s.owner.Gid)); err != nil {
			return err
		}
	}
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(s.password), 0o644); err != nil { //nolint:gosec // in a directory that only the owner enters
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", "test", "-A", "scram-sha-256", "--pwfile", secret, //nolint:gosec // the program that was found
		"-E", "UTF8", "--locale", "C", "--no-sync")
	cmd.Dir, cmd.Env = s.dir, environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, tail(out))
	}
	sync := "off"
	if s.cfg.Sync {
		sync = "on"
	}
	conf := append([]string{
		"listen_addresses = '127.0.0.1'", "unix_socket_directories = ''", "fsync = " + sync,
		"full_page_writes = " + sync, "max_connections = 60", "shared_buffers = 64MB", "log_min_messages = warning", "autovacuum_naptime = 5s",
	}, s.cfg.Settings...)
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Join(conf, "\n") + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	// The database is made by the server in its single-user mode, so that this package needs no client.
	cmd = exec.CommandContext(ctx, filepath.Join(s.bin, "postgres"), "--single", "-D", s.data(), "postgres") //nolint:gosec // the program that was found
	cmd.Dir, cmd.Env, cmd.Stdin = s.dir, environment(), strings.NewReader("CREATE DATABASE test\n")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("create database: %w: %s", err, tail(out))
	}
	return nil
}

// somebody returns a user whom PostgreSQL can run as.
func somebody() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody")
}

// environment is what PostgreSQL's programs get: nothing that would point them to another server.
func environment() []string { return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"} }

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// Addr returns the host:port that it listens at.
func (s *Server) Addr() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.reserved.Port(0)))
}

// URL returns the URL of the database, with its password; of another way to it if addr is not "": a proxy's.
func (s *Server) URL(addr string) string {
	if addr == "" {
		addr = s.Addr()
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword("test", s.password), Host: addr, Path: "/test", RawQuery: "sslmode=disable"}
	return u.String()
}

// Start starts it again after Kill, on the data that it has, and waits until it takes connections.
func (s *Server) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := s.start(ctx)
		if err == nil || !errors.Is(err, errLeftOver) {
			return err
		}
		select { // processes of the one that was killed have not all noticed
		case <-ctx.Done():
			return err
		case <-time.After(10 * pollEvery):
		}
	}
}

func (s *Server) start(ctx context.Context) error {
	p, err := s.launch()
	if err != nil {
		return fmt.Errorf("start postgresql: %w", err)
	}
	s.mu.Lock()
	s.proc = p
	s.mu.Unlock()
	if err := s.ready(ctx, p); err != nil {
		s.Kill()
		return fmt.Errorf("start postgresql: %w", err)
	}
	return nil
}

// ready polls until the server says that it takes connections, in the file that pg_ctl reads, too.
func (s *Server) ready(ctx context.Context, p *process) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		b, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
		lines := strings.Split(string(b), "\n")
		if err == nil && len(lines) > 7 && lines[0] == strconv.Itoa(p.cmd.Process.Pid) && strings.TrimSpace(lines[7]) == "ready" {
			return nil
		}
		select {
		case <-p.done:
			return p.why()
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// PID returns the process ID of the server's first process, 0 while it does not run.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return 0
	}
	return s.proc.cmd.Process.Pid
}

// Kill ends all of its processes with -9, as the kernel does when there is no memory. What it has on disk stays. It is
// idempotent.
func (s *Server) Kill() {
	s.mu.Lock()
	p := s.proc
	s.proc = nil
	s.mu.Unlock()
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGSTOP) // so that it begins no others, and cleans nothing up
	for _, pid := range children(p.cmd.Process.Pid) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Freeze stops its processes without ending them, until Thaw.
func (s *Server) Freeze() error { return s.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (s *Server) Thaw() error { return s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) error {
	pid := s.PID()
	if pid == 0 {
		return errors.New("postgresql does not run")
	}
	err := syscall.Kill(pid, sig)
	for _, child := range children(pid) {
		err = errors.Join(err, syscall.Kill(child, sig))
	}
	return err
}

// children returns the processes that have parent as theirs. Each of PostgreSQL's is a group of its own. Where there is no
// /proc they are left alone, and end by themselves when they notice.
func children(parent int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// PID (NAME) STATE PPID …, and NAME may have anything in it.
		_, rest, ok := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Close ends it and removes its data. It is idempotent.
func (s *Server) Close() {
	s.Kill()
	_ = os.RemoveAll(s.dir)
	s.reserved.Release()
}

// process is one life of the server.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // set before done is closed
}

// launch starts the server so that it ends with this process, where the kernel knows how. The thread that starts it has to
// live as long as it does.
func (s *Server) launch() (*process, error) {
	log := filepath.Join(s.dir, "log")
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &process{log: log, done: make(chan struct{})}
	p.cmd = exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.data(), "-p", strconv.Itoa(s.reserved.Port(0))) //nolint:gosec // the program that was found
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = s.dir, environment(), f, f
	p.cmd.SysProcAttr = sysProcAttr(s.owner)
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

var (
	errPortTaken = errors.New("the port is taken")
	errLeftOver  = errors.New("processes of its former life are there yet")
)

// why says how the process ended, in its own words.
func (p *process) why() error {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return errors.Join(p.err, err)
	}
	text := string(b)
	switch {
	case strings.Contains(text, "Address already in use"):
		return errPortTaken
	case strings.Contains(text, "still in use"), strings.Contains(text, "lock file") && strings.Contains(text, "already exists"):
		return fmt.Errorf("%w:\n%s", errLeftOver, tail(b))
	}
	return fmt.Errorf("it ended: %w:\n%s", p.err, tail(b))
}

func tail(b []byte) []byte { return b[max(0, len(b)-2000):] }
