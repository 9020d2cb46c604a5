package replica

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
	"github.com/holdfast-go/holdfast/replica/internal/snap"
	"github.com/holdfast-go/holdfast/replica/internal/transport"
	"github.com/holdfast-go/holdfast/replica/internal/wal"
	"github.com/holdfast-go/holdfast/rpc"
)

// Host is a process's part in replicated state: one log, one listener, many groups. It is a lifecycle component with
// Name, Ready and Drain. Start it before and stop it after whatever uses its groups. Safe for concurrent use.
type Host struct {
	cfg    Config
	log    *slog.Logger
	wal    *wal.Log
	snaps  *snap.Store
	server *rpc.Server
	net    *transport.Transport
	writer *writer
	pace   *rate.Limiter // of the snapshots that are written
	ready  chan struct{}
	fatal  chan error // capacity 1: the disk has failed

	mu      sync.Mutex
	state   hostState
	ctx     context.Context //nolint:containedctx // Run's, for groups that are made while it runs
	groups  map[uint64]*Group
	peers   []Peer
	polls   map[string]context.CancelFunc
	work    sync.WaitGroup // groups and polls
	polling chan struct{}  // closed and replaced when there is news that others should hear
}

type hostState int

const (
	hostNew hostState = iota
	hostRunning
	hostClosed
)

// stopTimeout is how long calls of other hosts may take that are under way when this one stops.
const stopTimeout = 2 * time.Second

// seams are what tests put in place of the machine that they run on.
type seams struct {
	fs   disk.FS
	dial []grpc.DialOption
}

// NewHost opens the directory, replays the log and listens. Directories that another process has open, that are damaged
// or belong to a host of another name are errors here. A Host that is never run must be closed.
func NewHost(cfg Config) (*Host, error) { return newHost(cfg, seams{fs: disk.OS()}) }

func newHost(cfg Config, s seams) (*Host, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.defaults()
	h := &Host{
		cfg: cfg, log: cfg.Logger, ready: make(chan struct{}), fatal: make(chan error, 1),
		groups: make(map[uint64]*Group), polls: make(map[string]context.CancelFunc), polling: make(chan struct{}),
	}
	if err := h.open(s); err != nil {
		return nil, fmt.Errorf("replica %s: %w", cfg.Name, errors.Join(err, h.Close()))
	}
	return h, nil
}

func (h *Host) open(s seams) (err error) {
	ahead := s.fs == disk.OS()
	if h.cfg.Disk != nil {
		s.fs = disk.Failing(s.fs, h.cfg.Disk)
	}
	if h.wal, err = wal.Open(s.fs, filepath.Join(h.cfg.Dir, "log"), wal.Config{SegmentBytes: h.cfg.SegmentBytes, Ahead: ahead}); err != nil {
		h.wal = nil
		return err
	}
	if h.snaps, err = snap.Open(s.fs, filepath.Join(h.cfg.Dir, "snapshots"), snap.Config{}); err != nil {
		return err
	}
	if err := h.identify(); err != nil {
		return err
	}
	h.writer = newWriter(h)
	limit := rate.Inf
	if h.cfg.SnapshotRate > 0 {
		limit = rate.Limit(h.cfg.SnapshotRate)
	}
	h.pace = rate.NewLimiter(limit, paceBytes)
	if h.server, err = rpc.NewServer(transport.Server(rpc.ServerConfig{
		Addr: h.cfg.Addr, Listener: h.cfg.Listener, TLS: h.cfg.ServerTLS, Insecure: h.cfg.Insecure, Logger: h.log,
		DrainTimeout: stopTimeout, // the streams have ended by then; what is left are short calls
	})); err != nil {
		return err
	}
	h.net = transport.New(transport.Config{
		Self: h.cfg.Name, Handler: (*handler)(h), Store: h.snaps, SnapshotRate: max(0, h.cfg.SnapshotRate), Logger: h.log,
		Silence: max(time.Second, 3*h.cfg.Election),
		Dial: func(addr string) (*grpc.ClientConn, error) {
			return rpc.Direct(addr, rpc.ClientConfig{TLS: h.cfg.ClientTLS, Insecure: h.cfg.Insecure, Dial: h.cfg.Dial, Options: s.dial})
		},
	})
	h.net.Register(h.server)
	return nil
}

// groupID returns what a group is called between hosts and on the disk. 0 is the host's own.
func groupID(name string) uint64 {
	f := fnv.New64a()
	_, _ = f.Write([]byte(name)) // never fails
	return max(1, f.Sum64())
}

// Group makes this host a member of a group. All hosts of the group call it with the same name. It can be called before
// and while Run runs; the machine must be empty. What this host has of the group on its disk is restored before the
// first entry is applied. Propose and Read wait until the group is founded or joined.
func (h *Host) Group(name string, machine Machine, cfg GroupConfig) (*Group, error) {
	if err := errors.Join(ValidateName(name), cfg.Validate()); err != nil {
		return nil, fmt.Errorf("replica group: %w", err)
	}
	if machine == nil {
		return nil, fmt.Errorf("replica group %s: no machine", name)
	}
	id := groupID(name)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == hostClosed {
		return nil, ErrStopped.With("the host " + h.cfg.Name + " is closed")
	}
	if len(h.groups) >= maxGroups {
		return nil, fmt.Errorf("replica group %s: this host has %d groups already", name, len(h.groups))
	}
	if other := h.groups[id]; other != nil {
		return nil, fmt.Errorf("replica group %s: made already, or its name is too much like that of %s", name, other.name)
	}
	g := newGroup(h, id, name, machine, cfg.defaults())
	h.groups[id] = g
	if h.state == hostRunning {
		h.begin(g)
	}
	return g, nil
}

// maxGroups bounds the groups of a host.
const maxGroups = 4096

// begin runs a group. h.mu is held.
func (h *Host) begin(g *Group) {
	h.work.Go(func() { g.live(h.ctx) })
}

// group returns the group of that ID, nil if there is none.
func (h *Host) group(id uint64) *Group {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.groups[id]
}

// Groups returns the groups of this host, sorted by name.
func (h *Host) Groups() []*Group {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]*Group, 0, len(h.groups))
	for _, g := range h.groups {
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b *Group) int { return strings.Compare(a.name, b.name) })
	return out
}

// Run takes part until ctx ends, then stops and closes everything. It returns an error when the disk fails, and nil when
// only a group does, which then answers with that error.
func (h *Host) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h.mu.Lock()
	if h.state != hostNew {
		h.mu.Unlock()
		return fmt.Errorf("replica %s: run twice, or closed", h.cfg.Name)
	}
	h.state, h.ctx = hostRunning, ctx
	for _, g := range h.groups {
		h.begin(g)
	}
	h.mu.Unlock()

	serving, stopServing := context.WithCancel(context.Background())
	defer stopServing()
	served, written := make(chan error, 1), make(chan struct{})
	go func() { served <- h.server.Run(serving) }()
	go func() { h.writer.run(); close(written) }()
	h.work.Go(func() { h.follow(ctx) })
	select {
	case <-h.server.Ready():
		close(h.ready)
	case <-ctx.Done():
	}

	var err error
	select {
	case <-ctx.Done():
	case err = <-h.fatal:
	case err = <-served:
		served <- nil
	}
	h.mu.Lock()
	h.state = hostClosed
	h.mu.Unlock()
	cancel()
	stopped := make(chan error, 1)
	go func() {
		h.work.Wait()
		h.net.Close()
		stopServing()
		failed := <-served
		h.writer.stop()
		<-written
		stopped <- errors.Join(failed, h.wal.Close())
	}()
	if err = errors.Join(err, h.await(stopped)); err != nil {
		return fmt.Errorf("replica %s: %w", h.cfg.Name, err)
	}
	return nil
}

// await waits for the end of everything, unless the disk hangs: then for what does not need it.
func (h *Host) await(stopped <-chan error) error {
	select {
	case err := <-stopped:
		return err
	case <-h.writer.hung:
	}
	select {
	case err := <-stopped:
		return err
	case <-time.After(2 * stopTimeout):
		return nil
	}
}

// fail ends the host: its disk does not do what it has to.
func (h *Host) fail(err error) {
	select {
	case h.fatal <- err:
		h.log.Error("the disk has failed: this host of replicated state stops", "host", h.cfg.Name, "dir", h.cfg.Dir, "error", err)
	default:
	}
	for _, g := range h.Groups() {
		g.fail(err)
	}
}

// Ready is closed once Run serves the other members. Groups are not waited for: see Group.Ready.
func (h *Host) Ready() <-chan struct{} { return h.ready }

// Name returns "replica NAME".
func (h *Host) Name() string { return "replica " + h.cfg.Name }

// Addr returns the address that the host listens on.
func (h *Host) Addr() net.Addr { return h.server.Addr() }

// Drain hands the leadership of all groups over to the members that are most up to date, and goes on serving. It returns
// when that is done, or ctx is.
func (h *Host) Drain(ctx context.Context) error {
	var all sync.WaitGroup
	for _, g := range h.Groups() {
		all.Go(func() { g.resign(ctx) })
	}
	all.Wait()
	return nil
}

// Close ends a Host that is not run.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.state == hostRunning {
		h.mu.Unlock()
		return fmt.Errorf("replica %s: close: it runs, end its context", h.cfg.Name)
	}
	closed := h.state == hostClosed
	h.state = hostClosed
	h.mu.Unlock()
	if closed {
		return nil
	}
	var errs []error
	switch {
	case h.server != nil:
		errs = append(errs, h.server.Close())
	case h.cfg.Listener != nil:
		errs = append(errs, h.cfg.Listener.Close())
	}
	if h.net != nil {
		h.net.Close()
	}
	if h.wal != nil {
		errs = append(errs, h.wal.Close())
	}
	return errors.Join(errs...)
}
