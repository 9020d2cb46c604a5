//go:build unix

package consulagent

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// ports are those of one agent.
type ports struct {
	http, server, gossip int

	held []*os.File
}

func (p *ports) release() {
	for _, f := range p.held {
		f.Close()
	}
	p.held = nil
}

// reserve returns ports that nobody listens at, and that lie below those that systems give to outgoing connections. They
// stay reserved, also while the agent is down, among all processes that use this package: by locks on files.
func reserve() (ports, error) {
	const first, last, tries = 30_000, 32_700, 1000
	dir := filepath.Join(os.TempDir(), "holdfast-consul-ports-"+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return ports{}, err
	}
	var p ports
	var got []int
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
		if got = append(got, port); len(got) == 3 {
			p.http, p.server, p.gossip = got[0], got[1], got[2]
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

// free reports whether nobody listens at a port: gossip takes both kinds.
func free(port int) bool {
	l, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return false
	}
	l.Close()
	u, err := net.ListenPacket("udp", loopback(port))
	if err != nil {
		return false
	}
	_ = u.Close()
	return true
}

// newID returns a UUID.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // which does not fail
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
