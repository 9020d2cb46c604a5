package replica

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"
)

// The defaults of a Config and a GroupConfig.
const (
	DefaultMembers         = 3
	DefaultElection        = time.Second
	DefaultReplaceAfter    = 5 * time.Minute
	DefaultTimeout         = 10 * time.Second
	DefaultSnapshotRate    = 64 << 20
	DefaultMaxCommand      = 1 << 20
	DefaultMaxPending      = 8192
	DefaultMaxPendingBytes = 64 << 20
	DefaultKeys            = 100_000
	DefaultKeyRetention    = 24 * time.Hour
	DefaultSnapshotEntries = 100_000
	DefaultSnapshotBytes   = 32 << 20
)

// Config configures a Host. Name, Dir and Peers have no default; the rest of the zero value is fit for production on
// loopback, and elsewhere needs TLS. Members of one group must agree on Members and Election.
type Config struct {
	// Name tells the hosts apart. It stays the same over restarts: a host that comes back with the same name and
	// another disk is a member that has lost its disk.
	Name string
	// Dir holds the log, the snapshots and the identity of this host, and is nobody else's. It is created when missing.
	Dir string
	// Peers tells where the other hosts are. nil: there are none.
	Peers Peers

	// Members is how many hosts found a group, and vote in it. 0: 3. 1: this host alone, for development. Two survive
	// the loss of none. Hosts beyond them join as spares.
	Members int
	// Founders names the hosts that may found groups, for where more than Members could be about, or come later: without
	// it any Members hosts do that find each other, all of them new. nil: any.
	Founders []string

	// Addr is the host:port to listen on for the other members. "": 127.0.0.1:0, a free port on loopback.
	Addr string
	// Listener is used instead of Addr, if set. The host closes it.
	Listener net.Listener
	// ServerTLS and ClientTLS are the two sides of TLS between members. nil: plaintext, which is refused beyond loopback.
	// Who can connect can change the state: demand and check client certificates.
	ServerTLS, ClientTLS *tls.Config
	// Insecure allows plaintext beyond loopback: everyone on the way can read and change the state.
	Insecure bool

	// Dial makes the connections to other members, as net.Dialer.DialContext does, which it is if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Disk, if set, is asked before each operation on a file that what was acknowledged is in: op is "write" for one that
	// takes space, "sync", or "change" for the rest. What it returns is what the operation returns instead of being made. It is for
	// tests and drills of what a disk does that is full, slow or broken. Called by several goroutines at once. nil: nobody is asked.
	Disk func(op string) error

	// Election is how long a member hears nothing from its leader before it asks for an election, at least; at most it is
	// twice as long. 0: 1 s. Shorter than a long pause of a process (collection, a busy disk, a migration of its virtual
	// machine) makes elections out of pauses; 250 ms is stable on a machine that is not overloaded.
	Election time.Duration
	// ReplaceAfter is how long a voter is unreachable before a spare that is up to date takes its place. 0: 5 min.
	// Negative: never.
	ReplaceAfter time.Duration
	// SnapshotRate bounds the bytes a second in which all snapshots together are written, and those in which they are
	// sent: the log is on the same disk. 0: 64 MiB. Negative: no bound.
	SnapshotRate int64
	// SegmentBytes is how large the files of the log are. 0: 32 MiB.
	SegmentBytes int64

	// Failed is told, once and on a goroutine of its own group, when a group has failed for good: its machine panicked, its
	// log cannot be read, the group has removed this member. The host goes on with its other groups. Groups that name
	// their Members are moved by hand: that they were removed is not told. nil: nobody is told.
	Failed func(g *Group, err error)
	// Observer is told what happens. nil: nobody is.
	Observer Observer
	// Logger gets changes of leaders and members, and what is wrong. nil: slog.Default().
	Logger *slog.Logger
}

// GroupConfig configures a Group. The zero value works.
type GroupConfig struct {
	// Members names the hosts that found this group, if not those of the Host. Others join only by AddMember.
	Members []string

	// Timeout is the deadline of a Propose or Read whose context has none. 0: 10 s.
	Timeout time.Duration
	// MaxCommand bounds a command. 0: 1 MiB. At most 16 MiB.
	MaxCommand int
	// MaxPending and MaxPendingBytes bound the commands that wait on this member; more are refused with SHED. 0: 8192,
	// 64 MiB. At most 32768, 1 GiB; bytes not below MaxCommand.
	MaxPending      int
	MaxPendingBytes int64
	// Keys and KeyRetention bound what is remembered of Once: that many keys, that long by the entries' time, and
	// 64 MiB with their results in any case: beyond that the oldest are forgotten. 0: 100,000, 24 h. Not below 1 s. All
	// members must agree.
	Keys         int
	KeyRetention time.Duration
	// SnapshotEntries and SnapshotBytes are how many entries, or bytes of them, are applied until the next snapshot is
	// taken. 0: 100,000, 32 MiB.
	SnapshotEntries int
	SnapshotBytes   int64
}

// Validate reports everything that is wrong, joined; nil if nothing is.
func (c Config) Validate() error { return c.validate() }

// Validate reports everything that is wrong, joined; nil if nothing is.
func (c GroupConfig) Validate() error { return c.validate() }
