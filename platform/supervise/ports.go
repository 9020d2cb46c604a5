//go:build unix

package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	shared "github.com/holdfast-go/holdfast/internal/ports"
)

// Ports are taken from below the range that Linux (32768) and macOS (49152) take the local ports of outgoing connections
// from. Otherwise any connection could take the port of an instance between its crash and its restart.
// Those that are remembered in files have a range of their own, so that no instance is given the port of a member that
// happens to be down.
const (
	firstFixed = 15000
	firstPort  = 20000
	lastPort   = 32000
)

// In a network of its own an instance has all ports for itself.
const (
	networkGRPC = 50051
	networkHTTP = 8080
)

// ports hands out free ports between first and last, none to two at a time: of the supervisors of one user, by locks on files,
// neither. Where those cannot be had it does without.
type ports struct {
	first, last int // the last one is not among them

	mu   sync.Mutex
	used map[int]*os.File // its lock, nil without one
}

func newPorts(first, last int) *ports {
	return &ports{first: first, last: last, used: make(map[int]*os.File)}
}

// take returns a port that nobody listens on and that is not given to anybody else until release.
func (p *ports) take() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.last - p.first
	// Another supervisor on this machine looks for ports, too: not both from the same place.
	begin := rand.IntN(n)
	for i := range n {
		port := p.first + (begin+i)%n
		if _, used := p.used[port]; used || !free(port) {
			continue
		}
		if lock, err := shared.Lock(port); !errors.Is(err, shared.ErrTaken) {
			p.used[port] = lock
			return port, nil
		}
	}
	return 0, fmt.Errorf("choose a port: none is free between %d and %d", p.first, p.last-1)
}

func (p *ports) release(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.used[port].Close() // of nil, too
	delete(p.used, port)
}

// reserve marks a port that was chosen elsewhere.
func (p *ports) reserve(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used[port] == nil {
		p.used[port], _ = shared.Lock(port) // whoever has it keeps it, and this one finds that out when it listens
	}
}

// close gives all of them back. It is idempotent.
func (p *ports) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, lock := range p.used {
		_ = lock.Close() // of nil, too
	}
	clear(p.used)
}

// free reports whether a process could listen on the port now.
func free(port int) bool {
	l, err := net.Listen("tcp4", loopback(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// portOf is the port of a host:port, 0 if it has none.
func portOf(addr string) int {
	_, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	return n
}

// Addresses returns one loopback host:port for each name, the same ones every time for the same file: what is in the
// file is kept, missing names get free ports, and the file is replaced atomically before Addresses returns. It is for
// addresses that others remember, such as those of etcd's peers. A kept port may be in use by now; whoever listens on
// it finds that out. Only one process may use a file at a time; New's lock on the data directory sees to that.
func Addresses(file string, names ...string) (map[string]string, error) {
	all := make(map[string]string)
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read addresses: %w", err)
	default:
		if err := json.Unmarshal(b, &all); err != nil {
			return nil, fmt.Errorf("read addresses %s: %w", file, err)
		}
	}
	pool := newPorts(firstFixed, firstPort)
	defer pool.close()
	for name, addr := range all {
		port := portOf(addr)
		if port < 1 || port > 65535 {
			return nil, fmt.Errorf("read addresses %s: bad address %q of %s", file, addr, name)
		}
		pool.reserve(port)
	}
	chosen, changed := make(map[string]string, len(names)), false
	for _, name := range names {
		if all[name] == "" {
			port, err := pool.take()
			if err != nil {
				return nil, err
			}
			all[name], changed = loopback(port), true
		}
		chosen[name] = all[name]
	}
	if changed {
		if err := writeJSON(file, all); err != nil {
			return nil, fmt.Errorf("write addresses: %w", err)
		}
	}
	return chosen, nil
}

// writeJSON replaces a file so that a crash leaves the old or the new one, whole.
func writeJSON(file string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, filepath.Base(file)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already if all went well
	_, err = tmp.Write(append(b, '\n'))
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
