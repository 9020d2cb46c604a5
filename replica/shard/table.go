package shard

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica"
)

// Row is where one shard is.
type Row struct {
	// Hosts have the shard. Once Switched, they become fewer, until Target takes their place.
	Hosts []string `json:"hosts"`
	// Target are the hosts that it moves to; nil while it does not.
	Target []string `json:"target,omitempty"`
	// Switched says that those of Target are fit to serve, and are to be asked from now on.
	Switched bool `json:"switched,omitempty"`
	// Leaving had the shard and have not deleted it yet.
	Leaving []string `json:"leaving,omitempty"`
	// Founded says that its group has begun to exist. From then on nobody founds it, whatever is lost.
	Founded bool `json:"founded,omitempty"`
}

// wants reports whether a host has to have the shard.
func (r Row) wants(host string) bool {
	return slices.Contains(r.Hosts, host) || slices.Contains(r.Target, host)
}

// serving are the hosts to ask.
func (r Row) serving() []string {
	if r.Switched {
		return r.Target
	}
	return r.Hosts
}

// settled reports whether the shard is on those hosts and moves nowhere.
func (r Row) settled(hosts []string) bool { return r.Target == nil && slices.Equal(r.Hosts, hosts) }

// table is the state of the table's group; rows of a table that was handed out never change.
type table struct {
	Format   int   `json:"format"`
	Replicas int   `json:"replicas"`
	Rows     []Row `json:"rows"`
}

const tableFormat = 1

func (t *table) clone() *table {
	c := *t
	c.Rows = slices.Clone(t.Rows)
	return &c
}

type op string

const (
	opInit    op = "init"
	opMove    op = "move"
	opFounded op = "founded"
	opSwitch  op = "switch"
	opOut     op = "out"
	opDone    op = "done"
	opLeft    op = "left"
)

func (o op) known() bool {
	switch o {
	case opInit, opMove, opFounded, opSwitch, opOut, opDone, opLeft:
		return true
	}
	return false
}

// commandFormat is raised with whatever an older program would apply differently.
const commandFormat = 1

// command changes the table.
type command struct {
	Format   int      `json:"format"` // set by commands
	Op       op       `json:"op"`
	Shard    int      `json:"shard"`
	Hosts    []string `json:"hosts,omitempty"` // sorted
	Host     string   `json:"host,omitempty"`
	Replicas int      `json:"replicas,omitempty"`
	Rows     []Row    `json:"rows,omitempty"`
}

// commands is how commands travel. One of a newer program panics, since this member cannot know what the others make of it:
// it must not go on with another table than theirs.
type commands struct{}

// Encode implements replica.Codec.
func (commands) Encode(c command) ([]byte, error) {
	c.Format = commandFormat
	return json.Marshal(c)
}

// Decode implements replica.Codec.
func (commands) Decode(b []byte) (c command, err error) {
	var first struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &first); err != nil {
		return c, err
	}
	if first.Format > commandFormat {
		panic(fmt.Sprintf("shard: a command of format %d; this program knows those up to %d: it has to be upgraded before it can go on", first.Format, commandFormat))
	}
	err = json.Unmarshal(b, &c)
	return c, err
}

// tables is the machine of the table's group.
type tables struct {
	now atomic.Pointer[table]

	mu      sync.Mutex
	changed chan struct{} // closed and replaced with each change
}

func newTables() *tables {
	t := &tables{changed: make(chan struct{})}
	t.now.Store(&table{Format: tableFormat})
	return t
}

// watch returns the table, and what is closed when there is another.
func (t *tables) watch() (*table, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now.Load(), t.changed
}

func (t *tables) set(n *table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Store(n)
	close(t.changed)
	t.changed = make(chan struct{})
}

// Apply implements replica.State. It returns the row as it is then.
func (t *tables) Apply(_ replica.At, c command) (Row, error) {
	now := t.now.Load()
	if c.Op == opInit {
		if len(now.Rows) == 0 {
			t.set(&table{Format: tableFormat, Replicas: c.Replicas, Rows: c.Rows})
		}
		return Row{}, nil
	}
	if !c.Op.known() {
		panic(fmt.Sprintf("shard: a command %q, which this program does not know: it has to be upgraded before it can go on", c.Op)) // other members may
	}
	if c.Shard < 0 || c.Shard >= len(now.Rows) {
		return Row{}, failure.New(failure.NotFound, "there is no shard %d of %d", c.Shard, len(now.Rows))
	}
	r, err := now.Rows[c.Shard].apply(c, now.Replicas)
	if err != nil {
		return Row{}, err
	}
	next := now.clone()
	next.Rows[c.Shard] = r
	t.set(next)
	return r, nil
}

// ErrMoving: the shard cannot be moved there yet; what was there before is not gone. Try again.
var ErrMoving = failure.New(failure.Aborted, "the shard is not ready to be moved there").WithReason("MOVING", replica.Domain)

func (r Row) apply(c command, replicas int) (Row, error) {
	switch c.Op {
	case opMove:
		if len(c.Hosts) != replicas {
			return r, failure.New(failure.InvalidArgument, "shard %d has %d replicas, and cannot be on %d hosts", c.Shard, replicas, len(c.Hosts))
		}
		if !r.Founded {
			return r, ErrMoving.With("shard %d has not begun to exist", c.Shard)
		}
		for _, h := range c.Hosts {
			if slices.Contains(r.Leaving, h) {
				return r, ErrMoving.With("shard %d: %s has not deleted what it had of it before", c.Shard, h)
			}
		}
		switch {
		case slices.Equal(c.Hosts, r.Target), r.settled(c.Hosts):
			return r, nil
		case r.Switched: // Target serves; those of Hosts that go on are members yet, since who is not is in Leaving
			r.leaves(r.Hosts, c.Hosts, r.Target)
			r.Hosts, r.Target, r.Switched = r.Target, c.Hosts, false
			return r, nil
		}
		r.leaves(r.Target, c.Hosts, r.Hosts)
		r.Target = c.Hosts
	case opFounded:
		r.Founded = true
	case opSwitch:
		if r.Target == nil || !slices.Equal(r.Target, c.Hosts) {
			return r, ErrMoving.With("shard %d moves elsewhere by now", c.Shard)
		}
		r.Switched = true
	case opOut:
		if !r.Switched || !slices.Equal(r.Target, c.Hosts) || slices.Contains(r.Target, c.Host) {
			return r, ErrMoving.With("shard %d moves elsewhere by now", c.Shard)
		}
		r.leaves([]string{c.Host}, nil, nil)
		r.Hosts = without(r.Hosts, c.Host)
	case opDone:
		if r.Target == nil || !slices.Equal(r.Target, c.Hosts) {
			return r, ErrMoving.With("shard %d moves elsewhere by now", c.Shard)
		}
		r.leaves(r.Hosts, c.Hosts, nil)
		r.Hosts, r.Target, r.Switched = c.Hosts, nil, false
	case opLeft:
		r.Leaving = without(r.Leaving, c.Host)
	case opInit: // not of one shard
	}
	return r, nil
}

// without returns a copy, nil if it is empty.
func without(hosts []string, host string) (out []string) {
	for _, h := range hosts {
		if h != host {
			out = append(out, h)
		}
	}
	return out
}

// leaves has those of hosts that are in neither a nor b delete what they have.
func (r *Row) leaves(hosts, a, b []string) {
	r.Leaving = slices.Clone(r.Leaving)
	for _, h := range hosts {
		if !slices.Contains(a, h) && !slices.Contains(b, h) && !slices.Contains(r.Leaving, h) {
			r.Leaving = append(r.Leaving, h)
		}
	}
	slices.Sort(r.Leaving)
}

// Snapshot implements replica.State.
func (t *tables) Snapshot() (replica.Snapshot, error) { return (*tableSnapshot)(t.now.Load()), nil }

type tableSnapshot table

// Write implements replica.Snapshot.
func (s *tableSnapshot) Write(w io.Writer) error { return json.NewEncoder(w).Encode((*table)(s)) }

// Release implements replica.Snapshot.
func (s *tableSnapshot) Release() {}

// Restore implements replica.State.
func (t *tables) Restore(r io.Reader) error {
	var n table
	if err := json.NewDecoder(r).Decode(&n); err != nil {
		return failure.Wrap(err, failure.DataLoss, "the table of shards cannot be read")
	}
	if n.Format > tableFormat {
		return failure.New(failure.Unimplemented, "the table of shards is of format %d, and this program knows up to %d", n.Format, tableFormat)
	}
	t.set(&n)
	return nil
}
