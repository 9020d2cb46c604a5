package embed

import (
	"context"
	"errors"
	"log/slog"
	"time"
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
// and a corrupt one are errors that say so.
func (e *Etcd) Run(ctx context.Context) error { return errors.New("not implemented") }
