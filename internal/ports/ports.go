//go:build unix

// Package ports reserves ports for servers that are processes of their own and keep their addresses while they are down: for
// those of tests and measuring programs it chooses them, too.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// These lie below the ports that systems give to outgoing connections, and apart from those that others here choose from, who
// do not know of each other: the measuring programs from 13000 to 14999, the platform from 15000 to 31999.
const (
	first = 10_000
	last  = 13_000
	tries = 2000
)

// ErrTaken says that a port is locked already.
var ErrTaken = errors.New("port taken")

// Reserved are ports of one server. The zero value has none.
type Reserved struct {
	numbers []int
	held    []*os.File
}

// Reserve returns n ports that nobody listens at, by TCP or UDP, on loopback. They stay reserved among all processes of this
// user that use this package, also while nobody listens, until Release or the end of the process: by locks on files.
// Somebody else may take one all the same.
func Reserve(n int) (*Reserved, error) {
	r := &Reserved{}
	for range tries {
		if len(r.numbers) == n {
			return r, nil
		}
		port := first + rand.IntN(last-first)
		f, err := Lock(port)
		switch {
		case errors.Is(err, ErrTaken):
			continue
		case err != nil:
			r.Release()
			return nil, fmt.Errorf("reserve ports: %w", err)
		}
		if !free(port) {
			f.Close()
			continue
		}
		r.held, r.numbers = append(r.held, f), append(r.numbers, port)
	}
	r.Release()
	return nil, fmt.Errorf("reserve ports: no %d are free among %d", n, tries)
}

// Port returns the i-th of them, from 0.
func (r *Reserved) Port(i int) int { return r.numbers[i] }

// Addr returns the host:port of the i-th on loopback.
func (r *Reserved) Addr(i int) string { return Loopback(r.numbers[i]) }

// Release gives them back. It is idempotent, and fine on nil.
func (r *Reserved) Release() {
	if r == nil {
		return
	}
	for _, f := range r.held {
		f.Close()
	}
	r.held = nil
}

// Loopback returns 127.0.0.1 with a port.
func Loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Lock takes a port that the caller has chosen among all processes of this user that lock theirs, with the same directory of
// temporary files, until the file is closed or this process ends: ErrTaken if it is locked already, also by this process. It
// says nothing about who listens there. Safe for concurrent use.
func Lock(port int) (*os.File, error) {
	dir, err := locks()
	if err != nil {
		return nil, fmt.Errorf("lock port %d: %w", port, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock port %d: %w", port, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrTaken
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock port %d: %w", port, err)
	}
	return f, nil
}

// locks is the directory of the locks. Where it lies anybody may have made it, with links in it to where files should not be made.
func locks() (string, error) {
	dir := filepath.Join(os.TempDir(), "holdfast-ports-"+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(st.Uid) != os.Getuid() || info.Mode().Perm() != 0o700 {
		return "", fmt.Errorf("%s is not a directory of this user's alone", dir)
	}
	return dir, nil
}

// free reports whether nobody listens at a port.
func free(port int) bool {
	l, err := net.Listen("tcp", Loopback(port))
	if err != nil {
		return false
	}
	l.Close()
	u, err := net.ListenPacket("udp", Loopback(port))
	if err != nil {
		return false
	}
	_ = u.Close()
	return true
}
