//go:build unix

package kafkatest

import (
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// ports are those of one broker.
type ports struct {
	numbers []int
	held    []*os.File
}

func (p *ports) client() int     { return p.numbers[0] }
func (p *ports) controller() int { return p.numbers[1] }
func (p *ports) secure() int     { return p.numbers[2] }

func (p *ports) release() {
	for _, f := range p.held {
		f.Close()
	}
	p.held = nil
}

// reserve returns n ports that nobody listens at, and that lie below those that systems give to outgoing connections. They
// stay reserved, also while the broker is down, among all processes that use this package: by locks on files.
func reserve(n int) (*ports, error) {
	const first, last, tries = 27_000, 29_900, 1000
	dir := filepath.Join(os.TempDir(), "holdfast-kafka-ports-"+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p := &ports{}
	for range tries {
		port := first + mathrand.IntN(last-first)
		f, err := lock(filepath.Join(dir, strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if !free(port) {
			f.Close()
			continue
		}
		p.held = append(p.held, f)
		if p.numbers = append(p.numbers, port); len(p.numbers) == n {
			return p, nil
		}
	}
	p.release()
	return nil, fmt.Errorf("no %d free ports among %d", n, tries)
}

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
	l, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}
