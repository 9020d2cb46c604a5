package netns

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Switch routes IPv4 packets between its ports, each of which has one address. What no rule is about goes from one device
// to the other at once; the rest waits in here for its time. Its methods may be called at once.
type Switch struct {
	seed uint64
	wg   sync.WaitGroup
	done chan struct{} // closed by Close

	strays atomic.Uint64

	mu     sync.Mutex // guards sets, closed, and who replaces ports
	sets   map[string]ruleSet
	ports  atomic.Pointer[map[netip.Addr]*port]
	closed bool
}

// port is one end.
type port struct {
	id   string
	addr netip.Addr
	dev  io.ReadWriteCloser

	mu sync.Mutex // guards who adds to ways
	// ways are those to other ports, made when they are first gone.
	ways map[*port]*way
}

// Flow counts what went from one end to another.
type Flow struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Packets and Bytes were taken, whatever became of them.
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
	// Lost were cut, lost by chance or for want of room, or could not be delivered; Reset ended a connection, or refused one.
	Lost  uint64 `json:"lost"`
	Reset uint64 `json:"reset"`
	// Held are on their way now.
	Held int `json:"held"`
}

// NewSwitch returns a switch without ports. What chance decides, it decides by the seed, for each pair of ends by itself.
// It has to be closed.
func NewSwitch(seed uint64) *Switch {
	s := &Switch{seed: seed, done: make(chan struct{}), sets: make(map[string]ruleSet)}
	s.ports.Store(&map[netip.Addr]*port{})
	return s
}

// Plug adds a port and reads from its device until the device is closed (os.ErrClosed), which Close does. A Read of the device is one
// packet, and so is a Write; both may be called at once, Write by several. IDs and addresses are unique.
func (s *Switch) Plug(id string, addr netip.Addr, dev io.ReadWriteCloser) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("plug " + id + ": the switch is closed")
	}
	ports := maps.Clone(*s.ports.Load())
	for _, p := range ports {
		if p.id == id || p.addr == addr {
			return fmt.Errorf("plug %s at %s: there is %s at %s", id, addr, p.id, p.addr)
		}
	}
	p := &port{id: id, addr: addr, dev: dev, ways: make(map[*port]*way)}
	ports[addr] = p
	s.ports.Store(&ports)
	s.wg.Go(func() { s.read(p) })
	return nil
}

// Set replaces the rules of a name, all of which are in force together with those of other names; without rules the name
// is forgotten. Packets that are on their way under a rule that no longer holds arrive at once, in their order.
func (s *Switch) Set(name string, rules ...Rule) error {
	for _, r := range rules {
		if err := r.Validate(); err != nil {
			return fmt.Errorf("rules of %s: %w", name, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(rules) == 0 {
		delete(s.sets, name)
	} else {
		s.sets[name] = ruleSet{since: time.Now(), rules: slices.Clone(rules)}
	}
	for _, from := range *s.ports.Load() {
		from.mu.Lock()
		for to, w := range from.ways {
			w.set(effectOf(s.sets, from.id, to.id))
		}
		from.mu.Unlock()
	}
	return nil
}

// Names returns those that have rules, sorted.
func (s *Switch) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.sets))
}

// Flows returns what went from whom to whom, sorted.
func (s *Switch) Flows() []Flow {
	var flows []Flow
	for _, from := range *s.ports.Load() {
		from.mu.Lock()
		for to, w := range from.ways {
			flows = append(flows, w.flow(from.id, to.id))
		}
		from.mu.Unlock()
	}
	slices.SortFunc(flows, func(a, b Flow) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return flows
}

// Strays counts packets for or from nobody here: none of IPv4, an address that is nobody's, or not the sender's own.
func (s *Switch) Strays() uint64 { return s.strays.Load() }

// Close closes all devices and returns when nothing is read or written any more. It may be called more than once.
func (s *Switch) Close() error {
	s.mu.Lock()
	var errs []error
	if !s.closed {
		s.closed = true
		close(s.done)
		for _, p := range *s.ports.Load() {
			errs = append(errs, p.dev.Close())
		}
	}
	s.mu.Unlock()
	s.wg.Wait()
	return errors.Join(errs...)
}

// again is how long a device is left alone that cannot be read: somebody may have taken it down, and may bring it up again.
const again = 100 * time.Millisecond

// read takes packets from a device until it is closed.
func (s *Switch) read(p *port) {
	buf := make([]byte, MaxPacket)
	for {
		n, err := p.dev.Read(buf)
		switch {
		case err == nil:
			s.forward(p, buf[:n])
		case errors.Is(err, os.ErrClosed) || !s.pause(again):
			return
		}
	}
}

// pause reports whether the switch is still in use after a time.
func (s *Switch) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}

// forward decides about one packet. The bytes are the caller's again when it returns.
func (s *Switch) forward(from *port, b []byte) {
	p, ok := parse(b)
	if !ok || p.from != from.addr {
		s.strays.Add(1)
		return
	}
	to := (*s.ports.Load())[p.to]
	if to == nil {
		s.strays.Add(1)
		return
	}
	from.way(s, to).take(p, b)
}

// way returns the one to another port. Only the goroutine that reads from p calls it, so that it needs the lock only to
// write.
func (p *port) way(s *Switch, to *port) *way {
	if w := p.ways[to]; w != nil {
		return w
	}
	s.mu.Lock() // no rule may come in between
	defer s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &way{s: s, from: p, to: to, draw: s.chance(p.id, to.id), wake: make(chan struct{}, 1)}
	w.set(effectOf(s.sets, p.id, to.id))
	p.ways[to] = w
	return w
}

// chance is what a pair of ends draws from: its own, so that the others' traffic changes nothing.
func (s *Switch) chance(from, to string) func() float64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, from+"\x00"+to)
	return rand.New(rand.NewPCG(s.seed, h.Sum64())).Float64 //nolint:gosec // chance, not secrecy
}
