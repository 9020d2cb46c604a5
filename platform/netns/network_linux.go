package netns

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/holdfast-go/holdfast/internal/thread"
)

// Network is a network of namespaces on this machine. Its methods may be called at once.
type Network struct {
	sw     *Switch
	logger *slog.Logger
	device string

	mu     sync.Mutex
	book   *book
	places map[string]*os.File // namespaces, by ID
	closed bool
}

// New makes a network and the platform's end of it: a device in the namespace of this process, by which it reaches the
// instances. Without root it is an error that says so. It has to be closed, and is gone in any case when this process is.
func New(cfg Config) (*Network, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	candidates, err := cfg.candidates()
	if err != nil {
		return nil, fmt.Errorf("network of namespaces: %w", err)
	}
	for _, p := range candidates {
		n, err := open(cfg, p)
		if errors.Is(err, syscall.EBUSY) {
			continue // somebody else was faster: the name of the device decides
		}
		if err != nil {
			return nil, fmt.Errorf("network of namespaces: %w", explain(err))
		}
		return n, nil
	}
	return nil, fmt.Errorf("network of namespaces: %w", cfg.taken())
}

// candidates are the networks to try.
func (c Config) candidates() ([]netip.Prefix, error) {
	if c.Subnet.IsValid() {
		if number(c.Subnet) == 0 {
			return nil, fmt.Errorf("%s is none of the networks from %s to %s", c.Subnet, subnet(firstSubnet), subnet(lastSubnet))
		}
		return []netip.Prefix{c.Subnet}, nil
	}
	routes, err := readRoutes()
	if err != nil {
		return nil, err
	}
	return free(routes), nil
}

func (c Config) taken() error {
	if c.Subnet.IsValid() {
		return fmt.Errorf("%w: %s is used by another system on this machine", ErrTaken, c.Subnet)
	}
	return fmt.Errorf("%w: all from %s to %s are used on this machine", ErrTaken, subnet(firstSubnet), subnet(lastSubnet))
}

func explain(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w; it is made by the kernel's module tun (modprobe tun), and a container has to be given it (--device /dev/net/tun)", err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w; it takes root, or the capabilities CAP_NET_ADMIN and CAP_SYS_ADMIN", err)
	}
	return err
}

// open makes the platform's end.
func open(cfg Config, p netip.Prefix) (*Network, error) {
	b := newBook(p)
	device := fmt.Sprintf("holdfast%d", number(p))
	tun, err := openTUN(device, netip.PrefixFrom(b.platform(), p.Bits()))
	if err != nil {
		return nil, err
	}
	n := &Network{
		sw: NewSwitch(rand.Uint64()), logger: cfg.Logger, device: device, book: b, places: make(map[string]*os.File),
	}
	if err := n.sw.Plug(Platform, b.platform(), tun); err != nil {
		return nil, errors.Join(err, tun.Close())
	}
	// What is not allowed shows now, and not when the first instance is started.
	ns, other, err := newNamespace(netip.PrefixFrom(b.platform(), p.Bits()))
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, errors.Join(ns.Close(), other.Close())
}

// Switch is where packets go, and what loses them.
func (n *Network) Switch() *Switch { return n.sw }

// Subnet is the network that all addresses are in.
func (n *Network) Subnet() netip.Prefix { return n.book.subnet }

// Addr is the address of an instance, the same one every time, and of control members the same in every network with this
// Subnet if they are asked for first.
func (n *Network) Addr(id string) (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.book.addr(id)
}

// Place returns the address and the namespace of an instance, which is made when it is first asked for and stays until
// Close: as a machine stays on which a process ends, and says so to those who are connected to it. The file stays the
// Network's.
func (n *Network) Place(id string) (netip.Addr, *os.File, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return netip.Addr{}, nil, fmt.Errorf("namespace of %s: the network is closed", id)
	}
	addr, err := n.book.addr(id)
	if err != nil || n.places[id] != nil {
		return addr, n.places[id], err
	}
	ns, tun, err := newNamespace(netip.PrefixFrom(addr, n.book.subnet.Bits()))
	if err != nil {
		return netip.Addr{}, nil, fmt.Errorf("namespace of %s: %w", id, err)
	}
	if err := n.sw.Plug(id, addr, tun); err != nil {
		return netip.Addr{}, nil, errors.Join(err, tun.Close(), ns.Close())
	}
	n.places[id] = ns
	return addr, ns, nil
}

// Close takes the network away. What still runs in a namespace has no way out from then on.
func (n *Network) Close() error {
	err := n.sw.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for _, ns := range n.places {
		err = errors.Join(err, ns.Close())
	}
	clear(n.places)
	return err
}

// newNamespace makes a namespace with a device. It takes a thread, which ends: one that was elsewhere is of no use here.
func newNamespace(addr netip.Prefix) (ns, tun *os.File, err error) {
	done := make(chan struct{})
	thread.Go(func() {
		defer close(done)
		ns, tun, err = enterNew(addr)
	})
	<-done
	return ns, tun, err
}

func enterNew(addr netip.Prefix) (ns, tun *os.File, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, nil, fmt.Errorf("make a namespace: %w", err)
	}
	if ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return nil, nil, err
	}
	err = configure("lo", netip.Prefix{})
	if err == nil {
		tun, err = openTUN("eth0", addr)
	}
	if err != nil {
		return nil, nil, errors.Join(err, ns.Close())
	}
	return ns, tun, nil
}

// openTUN makes a device in the namespace of this thread. It exists as long as the file is open. A name that is taken is
// EBUSY.
func openTUN(name string, addr netip.Prefix) (*os.File, error) {
	// Not os.OpenFile: the runtime can wait for the file only after it has become a device.
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	f, err := asTUN(fd, name)
	if err == nil {
		err = configure(name, addr)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("device %s: %w", name, err), unix.Close(fd))
	}
	return f(), nil
}

func asTUN(fd int, name string) (func() *os.File, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_TUN_EXCL)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return nil, err
	}
	return func() *os.File { return os.NewFile(uintptr(fd), name) }, nil
}

// queueLength is how many packets wait in the kernel for the switch to read them. On a machine that is busy it may be a
// while, and a packet that is lost for that reason is a fault that nobody asked for.
const queueLength = 5000

// configure gives a device its address, if any, and brings it up.
func configure(name string, addr netip.Prefix) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(s) }()
	set := func(what string, request uint, value func(*unix.Ifreq) error) error {
		req, err := unix.NewIfreq(name)
		if err == nil {
			err = value(req)
		}
		if err == nil {
			err = unix.IoctlIfreq(s, request, req)
		}
		if err != nil {
			return fmt.Errorf("set its %s: %w", what, err)
		}
		return nil
	}
	if addr.IsValid() {
		ip := addr.Addr().As4()
		mask := netip.PrefixFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), addr.Bits()).Masked().Addr().As4()
		err = errors.Join(
			set("address", unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(ip[:]) }),
			set("mask", unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask[:]) }),
			set("MTU", unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(MaxPacket); return nil }),
			set("queue", unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) error { r.SetUint32(queueLength); return nil }),
		)
		if err != nil {
			return err
		}
	}
	return set("state", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil })
}
