package embed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	nats "github.com/nats-io/nats-server/v2/server"
)

const (
	defaultStore   = 64 << 30
	defaultPayload = 8 << 20
	// natsPing bounds how long a connection, of a client or of another member, stays with somebody who is frozen: two of
	// them.
	natsPing = 2 * time.Second
	// natsWrite is how long a client may not take what it is sent.
	natsWrite = 5 * time.Second
	// natsDuck is over which its clients are sent to other members by one that stops, and natsStop bounds the whole stop.
	natsDuck  = 300 * time.Millisecond
	natsGrace = 50 * time.Millisecond
	natsStop  = 4 * time.Second
	// natsRecover is after how long, again and again, it is said that a server still reads its directory. There is no bound: a
	// server that begins anew reads all of it anew.
	natsRecover = 2 * time.Minute
	natsTick    = 20 * time.Millisecond
)

// NATSConfig configures one NATS server with JetStream. Name, DataDir and ClientAddr are required, and PeerAddr in a
// cluster.
type NATSConfig struct {
	// Name of the member, unique in the cluster. Its data belong to it by this name.
	Name string
	// DataDir is the server's own directory. One that was emptied is filled again from the other members.
	DataDir string
	// ClientAddr and PeerAddr are IP:port to listen on. Plaintext, so loopback only unless Insecure is set.
	ClientAddr, PeerAddr string
	// Insecure allows addresses beyond loopback, as in a network namespace that nobody else is in.
	Insecure bool
	// Cluster is the peer address of every member by name, this one included. Empty means a server of its own.
	Cluster map[string]string
	// Token, if not empty, is what clients and other members have to show.
	Token string
	// StoreBytes bounds the sum of the limits of all streams. What a stream does not use takes no disk. Default 64 GiB.
	StoreBytes int64
	// MaxMessage is the most bytes in a message, with its headers. Default 8 MiB.
	MaxMessage int
	// NoSync confirms a message before it is on disk, and writes it there every two minutes: a member that loses its power
	// loses what it confirmed, and so do all that lose it together. For measurements.
	NoSync bool
	// Logger gets the server's warnings and errors. Default: discarded.
	Logger *slog.Logger
}

// NATS is one NATS server with JetStream in this process: a lifecycle Component. Every message is on the disks of a
// majority of its stream's replicas before it is confirmed.
type NATS struct {
	cfg   NATSConfig
	ready chan struct{}
}

// NewNATS returns a server that Run starts. Mistakes in cfg are reported by Run.
func NewNATS(cfg NATSConfig) *NATS { return &NATS{cfg: cfg, ready: make(chan struct{})} }

// Name implements lifecycle.Namer.
func (n *NATS) Name() string { return "nats " + n.cfg.Name }

// Ready is closed when JetStream takes requests. With several members it needs a majority of them.
func (n *NATS) Ready() <-chan struct{} { return n.ready }

// Run runs the server until ctx ends or it fails. It hands its leaderships over and sends its clients to other members
// before it stops. A port that is taken and a directory that is in use are errors that say so. It can be called once.
func (n *NATS) Run(ctx context.Context) error {
	if err := n.run(ctx, n.cfg.withDefaults()); err != nil {
		return fmt.Errorf("nats %s: %w", n.cfg.Name, err)
	}
	return nil
}

func (n *NATS) run(ctx context.Context, cfg NATSConfig) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	unlock, err := lockDir(cfg.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	// The server would say only that an address is in use, in its log.
	addrs := []struct{ what, addr string }{{"client", cfg.ClientAddr}, {"peer", cfg.PeerAddr}}
	for _, l := range addrs[:min(len(addrs), 1+len(cfg.Cluster))] {
		if err := checkFree(l.what, l.addr); err != nil {
			return err
		}
	}
	server, err := nats.NewServer(cfg.options())
	if err != nil {
		return err
	}
	log := newNATSLog(cfg.Logger.With("member", cfg.Name))
	server.SetLoggerV2(log, false, false, false)
	started := make(chan struct{})
	go func() {
		defer close(started)
		server.Start()
	}()
	err = n.serve(ctx, server, log, started)
	log.stopping.Store(true)
	stopNATS(server, err == nil && len(cfg.Cluster) > 1)
	<-started
	return err
}

// serve returns nil when ctx ends, an error when the server does.
func (n *NATS) serve(ctx context.Context, server *nats.Server, log *natsLog, started <-chan struct{}) error {
	tick := time.NewTicker(natsTick)
	defer tick.Stop()
	recovery := time.NewTicker(natsRecover)
	defer recovery.Stop()
	begun := time.Now()
	waits := tick.C
	for {
		select {
		case <-ctx.Done():
			return nil
		case text := <-log.fatal:
			return errors.New(text)
		case <-started:
			started = nil
			recovery.Stop()
		case <-recovery.C:
			log.logger.Warn("the queue still reads what is in its directory", "for", time.Since(begun).Round(time.Second))
		case <-waits:
			if started != nil || !server.JetStreamEnabled() || !server.ReadyForConnections(time.Millisecond) || !server.JetStreamIsCurrent() {
				continue
			}
			waits = nil
			tick.Reset(time.Second)
			log.ready.Store(true)
			close(n.ready)
		}
	}
}

// stopNATS ends a server so that its clients and the other members hardly notice, if there are any.
func stopNATS(server *nats.Server, gently bool) {
	if gently && server.NumRoutes() > 0 {
		late := time.AfterFunc(natsStop, server.Shutdown)
		server.LameDuckShutdown()
		late.Stop()
	}
	server.Shutdown()
	server.WaitForShutdown()
}

func (c NATSConfig) withDefaults() NATSConfig {
	if c.StoreBytes == 0 {
		c.StoreBytes = defaultStore
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = defaultPayload
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate reports all mistakes at once.
func (c NATSConfig) validate() error {
	var wrong []error
	if c.Name == "" || strings.ContainsAny(c.Name, " \t\r\n,=") {
		wrong = append(wrong, fmt.Errorf("name %q is empty or contains blanks, commas or =", c.Name))
	}
	if c.DataDir == "" {
		wrong = append(wrong, errors.New("no data directory"))
	}
	wrong = append(wrong, checkAddr("client address", c.ClientAddr, c.Insecure))
	if len(c.Cluster) > 0 && c.Cluster[c.Name] != c.PeerAddr {
		wrong = append(wrong, fmt.Errorf("cluster has %q for %s, not its peer address %q", c.Cluster[c.Name], c.Name, c.PeerAddr))
	}
	for name, addr := range c.Cluster {
		wrong = append(wrong, checkAddr("peer address of "+name, addr, c.Insecure))
	}
	if c.StoreBytes < 0 || c.MaxMessage < 0 || c.MaxMessage > 64<<20 {
		wrong = append(wrong, errors.New("a bound is negative, or messages are larger than 64 MiB"))
	}
	return errors.Join(wrong...)
}

// options translates a configuration. What is not mentioned is the server's default.
func (c NATSConfig) options() *nats.Options {
	host, port := hostPort(c.ClientAddr)
	o := &nats.Options{
		ServerName: c.Name, Host: host, Port: port, Authorization: c.Token,
		NoSigs: true, NoLog: true, DisableJetStreamBanner: true,
		MaxPayload: int32(c.MaxMessage), MaxPending: 64 << 20, //nolint:gosec // checked
		PingInterval: natsPing, MaxPingsOut: 2, WriteDeadline: natsWrite,
		LameDuckDuration: natsDuck, LameDuckGracePeriod: natsGrace,
		JetStream: true, StoreDir: c.DataDir, JetStreamMaxStore: c.StoreBytes, JetStreamMaxMemory: 64 << 20,
		// Otherwise a confirmed message is written to the disk within two minutes: servers that lose their power together
		// lose it.
		SyncAlways: !c.NoSync,
	}
	if len(c.Cluster) < 2 { // JetStream takes a cluster of one for one that is not complete
		return o
	}
	host, port = hostPort(c.PeerAddr)
	o.Cluster = nats.ClusterOpts{
		Name: "holdfast", Host: host, Port: port, PingInterval: natsPing, MaxPingsOut: 2, WriteDeadline: natsWrite,
		NoAdvertise: true, // clients know all members
		// A pool of routes is for traffic of many accounts.
		PoolSize: -1, Compression: nats.CompressionOpts{Mode: nats.CompressionOff},
	}
	if c.Token != "" {
		o.Cluster.Username, o.Cluster.Password = "member", c.Token
	}
	for _, name := range slices.Sorted(maps.Keys(c.Cluster)) {
		if name == c.Name {
			continue
		}
		u := &url.URL{Scheme: "nats", Host: c.Cluster[name]}
		if c.Token != "" {
			u.User = url.UserPassword("member", c.Token)
		}
		o.Routes = append(o.Routes, u)
	}
	return o
}

func hostPort(addr string) (string, int) { // addr was checked
	host, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	return host, n
}

// lockDir makes a directory and keeps other processes off it, which the server itself does not.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { // it was there before
		return nil, fmt.Errorf("data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s is in use by another process", dir)
		}
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	return func() { _ = f.Close() }, nil
}
