package embed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	etcd "go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"google.golang.org/grpc"
)

const (
	defaultHeartbeat = 50 * time.Millisecond
	defaultElection  = 500 * time.Millisecond
	defaultQuota     = 512 << 20
	defaultRetention = 5 * time.Minute
	// handover bounds how long a leader that ends waits for another one to take over.
	handover = 500 * time.Millisecond
)

// EtcdConfig configures one etcd member. Name, DataDir, ClientAddr and PeerAddr are required.
type EtcdConfig struct {
	// Name of the member, unique in the cluster.
	Name string
	// DataDir is the member's own directory. A member that is started on it again is the same member; a directory of
	// another member or cluster is refused, and so is one that has lost its data; see Replace.
	DataDir string
	// ClientAddr and PeerAddr are IP:port to listen on. Plaintext, so loopback only unless Insecure is set.
	ClientAddr, PeerAddr string
	// Insecure allows addresses beyond loopback, as in a network namespace that nobody else is in.
	Insecure bool
	// Cluster is the peer address of every member by name, this one included. It cannot change later. Empty means a
	// cluster of this one.
	Cluster map[string]string
	// Heartbeat is the interval of the leader's heartbeats. Default 50 ms.
	Heartbeat time.Duration
	// Election is how long a follower hears no heartbeat before it stands for election; up to twice that, by chance.
	// Default 500 ms. At least 5 heartbeats. A lower one elects a new leader sooner after a crash, and needlessly on a
	// machine whose disk or processor is busy for as long.
	Election time.Duration
	// QuotaBytes bounds the database. Beyond it writes of the whole cluster fail, and only deletions are taken, until a
	// fifth of it is free: each member looks every 30 s, and then they come back by themselves within a few minutes. A
	// warning says so from 70 % on. Default 512 MiB.
	QuotaBytes int64
	// Retention is how long old revisions are kept before they are compacted, unless the database is full. Default 5 min.
	Retention time.Duration
	// Logger gets etcd's warnings and errors. Default: discarded.
	Logger *slog.Logger
}

// Etcd is one member of an etcd cluster in this process: a lifecycle Component. Every write is on disk before it is
// acknowledged. A member whose database is mostly free pages, or full, defragments it, and answers nobody meanwhile: for a
// second or so, the leader after all others.
type Etcd struct {
	cfg    EtcdConfig
	ready  chan struct{}
	upkeep time.Duration // how often it looks at its database
}

// NewEtcd returns a member that Run starts. Mistakes in cfg are reported by Run.
func NewEtcd(cfg EtcdConfig) *Etcd {
	return &Etcd{cfg: cfg, ready: make(chan struct{}), upkeep: upkeepEvery}
}

// Name implements lifecycle.Namer.
func (e *Etcd) Name() string { return "etcd " + e.cfg.Name }

// Ready is closed when the member has joined a cluster with a leader and serves clients. With several members it needs a
// majority of them.
func (e *Etcd) Ready() <-chan struct{} { return e.ready }

// Run runs the member until ctx ends or it fails. It hands leadership over and ends the streams of clients, so that they
// go to other members at once, before it stops. A port that is taken and a directory that is in use, somebody else's or
// corrupt are errors that say so. It can be called once. After an error about corrupt data the process should end: etcd
// leaves files open then.
func (e *Etcd) Run(ctx context.Context) error {
	cfg := e.cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return fmt.Errorf("etcd %s: %w", cfg.Name, err)
	}
	dir, err := openDir(cfg)
	if err != nil {
		return fmt.Errorf("etcd %s: %w", cfg.Name, err)
	}
	if len(dir.id.Replacing) > 0 {
		// What else is in the directory may be in use: a member of the engine for messages runs beside this one.
		if err := dir.replace(ctx, cfg, func() error { return os.RemoveAll(dir.etcd()) }); ctx.Err() != nil {
			return nil //nolint:nilerr // it is stopped, as in serve
		} else if err != nil {
			return fmt.Errorf("etcd %s: replace what was here: %w", cfg.Name, err)
		}
	}
	if !dir.id.Joined && !dir.id.Joins {
		waitTurn(ctx, cfg)
	}
	streams, log := newStreams(), newBridge(cfg.Logger.With("member", cfg.Name))
	server, err := start(cfg, dir.id.Joins, log, streams)
	if err != nil {
		return fmt.Errorf("etcd %s: %w", cfg.Name, err)
	}
	err = e.serve(ctx, server, dir, cfg)
	log.stopping.Store(true)
	if err != nil {
		streams.end()
		server.Close()
		return fmt.Errorf("etcd %s: %w", cfg.Name, err)
	}
	stop(server, streams)
	return nil
}

// serve returns nil when ctx ends, an error when the server does.
func (e *Etcd) serve(ctx context.Context, server *etcd.Etcd, dir *dataDir, cfg EtcdConfig) error {
	ready := server.Server.ReadyNotify()
	for {
		select {
		case <-ready:
			if err := dir.joined(); err != nil {
				return err
			}
			maintain(ctx, server.Server, cfg, e.upkeep)
			close(e.ready)
			ready = nil
		case err := <-server.Err():
			return err
		case <-server.Server.StopNotify():
			return errors.New("the server ended by itself")
		case <-ctx.Done():
			return nil
		}
	}
}

// stop ends a server so that its clients and the other members hardly notice.
func stop(server *etcd.Etcd, streams *streams) {
	if s := server.Server; s.Lead() == uint64(s.MemberID()) && len(s.Cluster().Members()) > 1 && !handOver(s) {
		// All members are ending, or there is no majority. Close would try for 7 s more.
		streams.end()
		s.HardStop()
	}
	end(server, streams)
}

// end ends the streams and closes the server. Meanwhile another member that ends, too, may make this one the leader, and
// Close would look for a third, for as long.
func end(server *etcd.Etcd, streams *streams) {
	streams.end()
	late := time.AfterFunc(handover, server.Server.HardStop)
	defer late.Stop()
	server.Close()
}

// handOver reports whether another member leads now.
func handOver(s *etcdserver.EtcdServer) bool {
	ctx, cancel := context.WithTimeout(context.Background(), handover)
	defer cancel()
	self := s.MemberID()
	for _, other := range s.Cluster().Members() {
		if other.ID != self && s.MoveLeader(ctx, uint64(self), uint64(other.ID)) == nil {
			return true
		}
	}
	return s.Lead() != uint64(self)
}

func (c EtcdConfig) withDefaults() EtcdConfig {
	if c.Heartbeat == 0 {
		c.Heartbeat = defaultHeartbeat
	}
	if c.Election == 0 {
		c.Election = defaultElection
	}
	if c.QuotaBytes == 0 {
		c.QuotaBytes = defaultQuota
	}
	if c.Retention == 0 {
		c.Retention = defaultRetention
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if len(c.Cluster) == 0 {
		c.Cluster = map[string]string{c.Name: c.PeerAddr}
	}
	return c
}

// validate reports all mistakes at once.
func (c EtcdConfig) validate() error {
	var wrong []error
	if c.Name == "" || strings.ContainsAny(c.Name, ",=") {
		wrong = append(wrong, fmt.Errorf("name %q is empty or contains , or =", c.Name))
	}
	if c.DataDir == "" {
		wrong = append(wrong, errors.New("no data directory"))
	}
	if c.Cluster[c.Name] != c.PeerAddr {
		wrong = append(wrong, fmt.Errorf("cluster has %q for %s, not its peer address %q", c.Cluster[c.Name], c.Name, c.PeerAddr))
	}
	wrong = append(wrong, checkAddr("client address", c.ClientAddr, c.Insecure))
	for name, addr := range c.Cluster {
		wrong = append(wrong, checkAddr("peer address of "+name, addr, c.Insecure))
	}
	if c.Heartbeat < time.Millisecond || c.Election < 5*c.Heartbeat || c.Election > 50*time.Second {
		wrong = append(wrong, fmt.Errorf("election %s is not between 5 heartbeats of %s and 50 s", c.Election, c.Heartbeat))
	}
	if c.QuotaBytes < 0 || c.Retention < 0 {
		wrong = append(wrong, errors.New("quota or retention is negative"))
	}
	return errors.Join(wrong...)
}

func checkAddr(what, s string, insecure bool) error {
	addr, err := netip.ParseAddrPort(s)
	switch {
	case err != nil || addr.Port() == 0:
		return fmt.Errorf("%s %q is not IP:port", what, s)
	case !insecure && !addr.Addr().IsLoopback():
		return fmt.Errorf("%s %s is not loopback, and the connection is not encrypted", what, s)
	}
	return nil
}

// start starts a server. etcd answers some errors of its data by a panic, which is made an error here.
func start(cfg EtcdConfig, joins bool, log *bridge, streams *streams) (server *etcd.Etcd, err error) {
	defer func() {
		if v := recover(); v != nil {
			server, err = nil, fmt.Errorf("data directory %s: %s", cfg.DataDir, log.reason(v))
		}
	}()
	// Its listeners would say only that an address is in use, and one of them would not be closed.
	for _, l := range []struct{ what, addr string }{{"client", cfg.ClientAddr}, {"peer", cfg.PeerAddr}} {
		if err := checkFree(l.what, l.addr); err != nil {
			return nil, err
		}
	}
	shrinkWAL()
	return etcd.StartEtcd(settings(cfg, joins, log, streams))
}

func checkFree(what, addr string) error {
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s address %s is taken by another process: %w", what, addr, err)
	case err != nil:
		return fmt.Errorf("listen on %s address: %w", what, err)
	}
	return l.Close()
}

// settings translates a configuration. What is not mentioned is etcd's default.
func settings(cfg EtcdConfig, joins bool, log *bridge, streams *streams) *etcd.Config {
	c := etcd.NewConfig()
	c.Name, c.Dir = cfg.Name, cfg.DataDir
	client, peer := []url.URL{httpURL(cfg.ClientAddr)}, []url.URL{httpURL(cfg.PeerAddr)}
	c.ListenClientUrls, c.AdvertiseClientUrls = client, client
	c.ListenPeerUrls, c.AdvertisePeerUrls = peer, peer
	var initial []string
	for name, addr := range cfg.Cluster {
		u := httpURL(addr)
		initial = append(initial, name+"="+u.String())
	}
	slices.Sort(initial) // a configuration should look the same each time it is logged
	c.InitialCluster = strings.Join(initial, ",")
	c.ClusterState = etcd.ClusterStateFlagNew // ignored when there is data
	if joins {
		c.ClusterState = etcd.ClusterStateFlagExisting
	}

	c.TickMs = uint(cfg.Heartbeat.Milliseconds())
	c.ElectionMs = uint(cfg.Election.Milliseconds())
	c.PreVote = true // a member that comes back does not disturb the leader
	c.QuotaBackendBytes = cfg.QuotaBytes
	c.AutoCompactionMode = etcd.CompactorModePeriodic
	c.AutoCompactionRetention = cfg.Retention.String()
	c.GRPCKeepAliveMinTime = time.Second // clients that look for a frozen member may ask more often than every 5 s
	c.GRPCAdditionalServerOptions = []grpc.ServerOption{grpc.ChainStreamInterceptor(streams.intercept)}
	c.EnableGRPCGateway = false
	c.SocketOpts.ReuseAddress = true
	// On a busy machine a tenth of a second is nothing to warn of.
	c.WarningApplyDuration, c.WarningUnaryRequestDuration = time.Second, time.Second
	c.ZapLoggerBuilder = etcd.NewZapLoggerBuilder(log.zap())
	return c
}

func httpURL(addr string) url.URL { return url.URL{Scheme: "http", Host: addr} }

// isNotExist is for paths that may be missing.
func isNotExist(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}
