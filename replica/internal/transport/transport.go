package transport

import (
	"context"
	"crypto/rand"
	"encoding"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/replica/internal/snap"
)

// Handler is whom messages are for. Its methods are called from several goroutines.
type Handler interface {
	// Receive takes a message of the host from. It must not block; body is the handler's.
	Receive(from string, a Address, body []byte)
	// Accept says whether a snapshot may be received; it is followed by Installed with the message that announced it,
	// once the file is durable in the store.
	Accept(from string, a Address, id snap.ID) error
	// Installed takes the message of a snapshot that is in the store; that the two belong together is for the handler to
	// check. Its error goes to the sender.
	Installed(from string, a Address, id snap.ID, body []byte) error
	// Call answers a Call.
	Call(ctx context.Context, from, method string, request []byte) ([]byte, error)
	// Up says that there is a stream to a host, Down that there is none any more. gone: the other side ended it, so
	// its process is likely gone; otherwise it was silent.
	Up(host string)
	Down(host string, gone bool)
}

// Config configures a Transport. Self, Dial, Handler and Store are needed.
type Config struct {
	// Self is the name of this host.
	Self string
	// Dial makes a connection to the host at addr.
	Dial func(addr string) (*grpc.ClientConn, error)
	// Handler gets what arrives.
	Handler Handler
	// Store has the snapshots.
	Store *snap.Store
	// Silence is how long nothing may come from a host. 0: 3 s.
	Silence time.Duration
	// QueueBytes bounds what waits for one host. 0: 64 MiB.
	QueueBytes int
	// SnapshotRate bounds the bytes of snapshots a second. 0: no bound.
	SnapshotRate int64
	// Logger gets hosts that are reached and lost. nil: slog.Default().
	Logger *slog.Logger
}

// maxHosts bounds the hosts that are followed, whatever discovery says.
const maxHosts = 256

// Transport is the streams of one host. Safe for concurrent use. Run it before the server that it is registered with.
type Transport struct {
	cfg     Config
	limiter *rate.Limiter
	boot    string // of this Transport: another one after a restart

	mu     sync.Mutex
	ctx    context.Context //nolint:containedctx // Run's
	stop   context.CancelFunc
	hosts  map[string]*host
	work   sync.WaitGroup
	closed bool

	receiving map[uint64]bool // groups that receive a snapshot
}

// host is another host: what is known of it, and the streams that there are.
type host struct {
	name    string
	addr    string           // "": it is not known where it listens
	conn    *grpc.ClientConn // to addr
	links   []*link          // the oldest first
	boot    string           // of the process that the links are to
	changed chan struct{}    // capacity 1: links or addr have changed
	dialing context.CancelFunc
}

// Host is a host as the outside knows it.
type Host struct{ Name, Addr string }

// New returns a Transport without hosts.
func New(cfg Config) *Transport {
	if cfg.Silence == 0 {
		cfg.Silence = 3 * time.Second
	}
	if cfg.QueueBytes == 0 {
		cfg.QueueBytes = 64 << 20
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	t := &Transport{cfg: cfg, boot: rand.Text(), hosts: make(map[string]*host), receiving: make(map[uint64]bool)}
	t.ctx, t.stop = context.WithCancel(context.Background())
	if cfg.SnapshotRate > 0 {
		t.limiter = rate.NewLimiter(rate.Limit(cfg.SnapshotRate), chunkBytes)
	}
	return t
}

// Close ends all streams and joins all goroutines. It is idempotent.
func (t *Transport) Close() {
	t.mu.Lock()
	t.closed = true
	t.stop()
	for _, h := range t.hosts {
		t.forget(h)
	}
	t.mu.Unlock()
	t.work.Wait()
}

// forget ends the dialling of a host. t.mu is held.
func (t *Transport) forget(h *host) {
	if h.dialing != nil {
		h.dialing()
		h.dialing = nil
	}
	if conn := h.conn; conn != nil {
		t.work.Go(func() { _ = conn.Close() }) // which may wait for what hangs; nothing of it is needed any more
		h.conn = nil
	}
	h.addr = ""
}

// Follow says where hosts are. Those not among them are not dialled any more; what they have dialled stays.
func (t *Transport) Follow(hosts []Host) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	for name, h := range t.hosts {
		i := slices.IndexFunc(hosts, func(o Host) bool { return o.Name == name })
		if i < 0 || hosts[i].Addr != h.addr {
			t.forget(h)
		}
	}
	for _, o := range hosts {
		if o.Name == t.cfg.Self || o.Addr == "" {
			continue
		}
		h := t.host(o.Name)
		if h == nil || h.addr == o.Addr {
			continue
		}
		conn, err := t.cfg.Dial(o.Addr)
		if err != nil {
			t.cfg.Logger.Warn("a host of replicated state has an address that cannot be dialled", "host", o.Name, "address", o.Addr, "error", err)
			continue
		}
		ctx, cancel := context.WithCancel(t.ctx)
		h.addr, h.conn, h.dialing = o.Addr, conn, cancel
		t.work.Go(func() { t.dial(ctx, h, conn) })
	}
}

// host returns the host of that name, nil if there are too many. t.mu is held.
func (t *Transport) host(name string) *host {
	h := t.hosts[name]
	if h == nil {
		if len(t.hosts) >= maxHosts {
			for n, o := range t.hosts { // one that is not of use
				if o.conn == nil && len(o.links) == 0 {
					delete(t.hosts, n)
				}
			}
			if len(t.hosts) >= maxHosts {
				return nil
			}
		}
		h = &host{name: name, changed: make(chan struct{}, 1)}
		t.hosts[name] = h
	}
	return h
}

// Send puts a message into the queue for a host. false: it was dropped.
func (t *Transport) Send(name string, a Address, body encoding.BinaryAppender) bool {
	t.mu.Lock()
	h := t.hosts[name]
	var l *link
	if h != nil && len(h.links) > 0 {
		l = h.links[0]
	}
	t.mu.Unlock()
	return l != nil && l.push(a, body)
}

// Linked reports whether there is a stream to a host.
func (t *Transport) Linked(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.hosts[name]
	return h != nil && len(h.links) > 0
}

// Addr returns where a host listens, "" if that is not known.
func (t *Transport) Addr(name string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.hosts[name]; h != nil {
		return h.addr
	}
	return ""
}

// errNoAddress is that of a host which is not followed.
var errNoAddress = errors.New("where it listens is not known")

func (t *Transport) conn(name string) (*grpc.ClientConn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.hosts[name]; h != nil && h.conn != nil {
		return h.conn, nil
	}
	return nil, errNoAddress
}

// attach adds a stream to a host, with two goroutines in t.work, and detach takes it away. A stream of another process
// than those before ends them: that one is gone, whether or not its connections have told.
func (t *Transport) attach(name, boot string, l *link) bool {
	t.mu.Lock()
	h := t.host(name)
	restarted := h != nil && !t.closed && len(h.links) > 0 && h.boot != boot
	if restarted {
		for _, old := range h.links {
			close(old.replaced)
		}
		h.links = nil
	}
	if h == nil || t.closed || len(h.links) >= maxLinks {
		t.mu.Unlock()
		return false
	}
	h.links, h.boot = append(h.links, l), boot
	t.work.Add(2)
	first := len(h.links) == 1
	t.mu.Unlock()
	if restarted {
		t.cfg.Logger.Debug("host of replicated state has started anew", "host", name)
		t.cfg.Handler.Down(name, true)
	}
	if first {
		t.cfg.Logger.Debug("host of replicated state reached", "host", name)
		t.cfg.Handler.Up(name)
	}
	return true
}

// maxLinks bounds the streams of one host: one of each side, and those that have not been found out to be dead.
const maxLinks = 8

func (t *Transport) detach(name string, l *link, gone bool) {
	t.mu.Lock()
	h := t.hosts[name]
	if h == nil {
		t.mu.Unlock()
		return // forgotten meanwhile: it had no other streams
	}
	n := len(h.links)
	h.links = slices.DeleteFunc(h.links, func(o *link) bool { return o == l })
	last := n > 0 && len(h.links) == 0
	closed := t.closed
	select {
	case h.changed <- struct{}{}:
	default:
	}
	t.mu.Unlock()
	if last && !closed {
		t.cfg.Logger.Debug("host of replicated state lost", "host", name, "gone", gone)
		t.cfg.Handler.Down(name, gone)
	}
}

// Up returns the names of the hosts to which there is a stream, sorted.
func (t *Transport) Up() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []string
	for n, h := range t.hosts {
		if len(h.links) > 0 {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, strings.Compare)
	return names
}
