package embed

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// EtcdConfig configures one etcd member. Name, DataDir, ClientAddr and PeerAddr are required.
type EtcdConfig struct {
	// Name of the member, unique in the cluster.
	Name string
	// DataDir is the member's own directory. A member that is started on it again is the same
	// member; a directory of another member or cluster is refused.
	DataDir string
	// ClientAddr and PeerAddr are host:port to listen on. Plaintext: loopback only.
	ClientAddr, PeerAddr string
	// Cluster is the peer address of every member by name, this one included. Empty means a
	// cluster of this one.
	Cluster map[string]string
	// Heartbeat is the interval of the leader's heartbeats. Default 100 ms.
	Heartbeat time.Duration
	// Election is how long a follower hears no heartbeat before it stands for election. Default
	// 1 s. At least 5 heartbeats.
	Election time.Duration
	// QuotaBytes bounds the database; beyond it writes fail until it is compacted. Default 512 MiB.
	QuotaBytes int64
	// Retention is how long old revisions are kept before they are compacted. Default 5 min.
	Retention time.Duration
	// Logger gets etcd's warnings and errors. Default: discarded.
	Logger *slog.Logger
}

// Etcd is one member of an etcd cluster in this process: a lifecycle Component.
type Etcd struct {
	cfg   EtcdConfig
	ready chan struct{}
}

// NewEtcd returns a member that Run starts. Mistakes in cfg are reported by Run.
func NewEtcd(cfg EtcdConfig) *Etcd { return &Etcd{cfg: cfg, ready: make(chan struct{})} }

// Name implements lifecycle.Namer.
func (e *Etcd) Name() string { return "etcd " + e.cfg.Name }

// Ready is closed when the member has joined a cluster with a leader and serves clients. With
// several members it needs a majority of them.
func (e *Etcd) Ready() <-chan struct{} { return e.ready }

// Run runs the member until ctx ends or it fails. A taken port, a directory of somebody else's
// and a corrupt one are errors that say so. What ctx ended is a clean stop.
func (e *Etcd) Run(ctx context.Context) error {
	cfg, err := e.cfg.etcd()
	if err != nil {
		return fmt.Errorf("etcd member %s: %w", e.cfg.Name, err)
	}
	// etcd reports some mistakes, a corrupt log among them, by panicking through its logger.
	member, err := start(cfg)
	if err != nil {
		return fmt.Errorf("etcd member %s on %s: %w", e.cfg.Name, e.cfg.DataDir, err)
	}
	defer member.Close()

	ready := member.Server.ReadyNotify()
	for {
		select {
		case <-ready:
			close(e.ready)
			ready = nil
		case <-ctx.Done():
			return nil
		case err := <-member.Err():
			return fmt.Errorf("etcd member %s: %w", e.cfg.Name, err)
		case <-member.Server.StopNotify():
			return fmt.Errorf("etcd member %s: stopped by itself, removed from the cluster or out of disk", e.cfg.Name)
		}
	}
}

func start(cfg *embed.Config) (member *embed.Etcd, err error) {
	defer func() {
		if p := recover(); p != nil {
			member, err = nil, fmt.Errorf("start: %v", p)
		}
	}()
	return embed.StartEtcd(cfg)
}

// etcd translates the configuration, or says everything that is wrong with it.
func (c EtcdConfig) etcd() (*embed.Config, error) {
	var problems []string
	for _, f := range []struct{ name, value string }{{"Name", c.Name}, {"DataDir", c.DataDir}} {
		if f.value == "" {
			problems = append(problems, f.name+" is empty")
		}
	}
	for _, f := range []struct{ name, addr string }{{"ClientAddr", c.ClientAddr}, {"PeerAddr", c.PeerAddr}} {
		if host, _, err := net.SplitHostPort(f.addr); err != nil {
			problems = append(problems, fmt.Sprintf("%s %q is no host:port", f.name, f.addr))
		} else if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			problems = append(problems, fmt.Sprintf("%s %q is not a loopback address, and this is plaintext", f.name, f.addr))
		}
	}
	cluster := c.Cluster
	if len(cluster) == 0 {
		cluster = map[string]string{c.Name: c.PeerAddr}
	}
	if cluster[c.Name] != c.PeerAddr {
		problems = append(problems, fmt.Sprintf("Cluster has %q for %s, PeerAddr is %q", cluster[c.Name], c.Name, c.PeerAddr))
	}
	heartbeat, election := orDefault(c.Heartbeat, 100*time.Millisecond), orDefault(c.Election, time.Second)
	if election < 5*heartbeat {
		problems = append(problems, fmt.Sprintf("Election %v is less than 5 heartbeats of %v", election, heartbeat))
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("wrong configuration: %s", strings.Join(problems, "; "))
	}

	var initial []string
	for name, addr := range cluster {
		initial = append(initial, name+"=http://"+addr)
	}
	slices.Sort(initial)

	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = c.Name, c.DataDir
	cfg.ListenClientUrls = []url.URL{address(c.ClientAddr)}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	cfg.ListenPeerUrls = []url.URL{address(c.PeerAddr)}
	cfg.AdvertisePeerUrls = cfg.ListenPeerUrls
	cfg.InitialCluster = strings.Join(initial, ",")
	cfg.TickMs, cfg.ElectionMs = uint(heartbeat.Milliseconds()), uint(election.Milliseconds())
	cfg.QuotaBackendBytes = orDefault(c.QuotaBytes, 512<<20)
	cfg.AutoCompactionMode = embed.CompactorModePeriodic
	cfg.AutoCompactionRetention = orDefault(c.Retention, 5*time.Minute).String()
	cfg.StrictReconfigCheck = true
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger(c.Logger))
	return cfg, nil
}

func address(hostPort string) url.URL { return url.URL{Scheme: "http", Host: hostPort} }

func orDefault[T int64 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}
