//go:build unix

package rabbittest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// ports are those of one broker.
type ports struct {
	amqp, dist, epmd int

	held []*os.File
}

func (p *ports) release() {
	for _, f := range p.held {
		f.Close()
	}
	p.held = nil
}

// reserve returns ports that nobody listens at, and that lie below those that systems give to outgoing connections. They
// stay reserved, also while the broker is down, among all processes that use this package: by locks on files.
func reserve() (ports, error) {
	const first, last, tries = 27_000, 29_900, 1000
	dir := filepath.Join(os.TempDir(), "holdfast-rabbit-ports-"+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return ports{}, err
	}
	var p ports
	var got []int
	for range tries {
		port := first + rand.IntN(last-first)
		f, err := lock(filepath.Join(dir, strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if !free(port) {
			f.Close()
			continue
		}
		p.held = append(p.held, f)
		if got = append(got, port); len(got) == 3 {
			p.amqp, p.dist, p.epmd = got[0], got[1], got[2]
			return p, nil
		}
	}
	p.release()
	return ports{}, fmt.Errorf("no three free ports among %d", tries)
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
