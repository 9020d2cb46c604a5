//go:build unix

// Package ports reserves ports for servers that tests and measuring programs run as processes of their own, and that keep
// their addresses while they are down.
package ports

import (
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

// Reserved are ports of one server. The zero value has none.
type Reserved struct {
	numbers []int
	held    []*os.File
}

// Reserve returns n ports that nobody listens at, by TCP or UDP, on loopback. They stay reserved among all processes of this
// user that use this package, also while nobody listens, until Release or the end of the process: by locks on files.
// Somebody else may take one all the same.
func Reserve(n int) (*Reserved, error) {
	dir := filepath.Join(os.TempDir(), "holdfast-ports-"+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("reserve ports: %w", err)
	}
	r := &Reserved{}
	for range tries {
		if len(r.numbers) == n {
			return r, nil
		}
		port := first + rand.IntN(last-first)
		f, err := lock(filepath.Join(dir, strconv.Itoa(port)))
		if err != nil {
			continue
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

func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
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
