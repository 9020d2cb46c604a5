package shard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica"
)

// The defaults of a Config.
const (
	DefaultShards   = 64
	DefaultReplicas = 3
	// maxShards leaves room for other groups on a host.
	maxShards = 2048
)

// Config configures a Map. Name and Machine have no default. Name, Shards and Replicas are the same on all hosts; what the
// table was made with at the first start counts.
type Config struct {
	// Name begins the names of the groups: NAME:table, NAME:0, NAME:1 and so on.
	Name string
	// Machine makes the empty machine of a shard, each time that this host gets it.
	Machine func(shard int) replica.Machine
	// Shards is how many there are, for ever. More than hosts, many times, so that they can be spread evenly; each costs
	// heartbeats and some memory. 0: 64; at most 2048.
	Shards int
	// Replicas is how many hosts have each shard. 0: 3.
	Replicas int
	// Hosts are the first to have the shards. nil: those that vote on the table, which are the Members of the Host.
	Hosts []string
	// Group configures the shards' groups. Its Members are set by the Map.
	Group replica.GroupConfig
	// Logger is told of moves. nil: slog.Default().
	Logger *slog.Logger
}

// Validate reports everything that is wrong, joined; nil if nothing is.
func (c Config) Validate() error {
	var errs []error
	if err := replica.ValidateName(c.Name); err != nil {
		errs = append(errs, fmt.Errorf("shard: %w", err))
	}
	if c.Machine == nil {
		errs = append(errs, errors.New("shard: Machine: not set"))
	}
	if c.Shards < 0 || c.Shards > maxShards {
		errs = append(errs, fmt.Errorf("shard: Shards %d: not from 1 to %d", c.Shards, maxShards))
	}
	if c.Replicas < 0 {
		errs = append(errs, fmt.Errorf("shard: Replicas %d: negative", c.Replicas))
	}
	if n := len(c.Hosts); n > 0 && n < c.defaults().Replicas {
		errs = append(errs, fmt.Errorf("shard: Hosts: %d for %d replicas", n, c.defaults().Replicas))
	}
	if len(c.Group.Members) > 0 {
		errs = append(errs, errors.New("shard: Group.Members is the Map's to set"))
	}
	return errors.Join(append(errs, c.Group.Validate())...)
}

func (c Config) defaults() Config {
	if c.Shards == 0 {
		c.Shards = DefaultShards
	}
	if c.Replicas == 0 {
		c.Replicas = DefaultReplicas
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Map is a host's part in sharded state: the shards that it has, and the table that says where all are. It is a
// lifecycle component: run it while its Host runs. Safe for concurrent use.
type Map struct {
	host   *replica.Host
	cfg    Config
	log    *slog.Logger
	self   string // the host's name
	tables *tables
	typed  *replica.Typed[*tables, command, Row]
	ready  chan struct{}

	mu    sync.Mutex
	local map[int]*local
}

// local is a shard that this host has.
type local struct {
	group   *replica.Group
	machine replica.Machine
	busy    bool      // somebody is at work with it
	led     time.Time // since when this host leads it; zero: it does not
	since   time.Time // when it was seen that others are asked, in a move; zero: not yet
}

// New makes host part of a Map. Every host that may get shards calls it, with the same Config.
func New(host *replica.Host, cfg Config) (*Map, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.defaults()
	m := &Map{
		host: host, cfg: cfg, log: cfg.Logger.With("shards", cfg.Name), tables: newTables(),
		ready: make(chan struct{}), local: make(map[int]*local),
	}
	var err error
	if m.typed, err = replica.NewTypedCodec(host, cfg.Name+":table", m.tables, commands{}, replica.CodecOf[Row](), replica.GroupConfig{}); err != nil {
		return nil, err
	}
	m.self = m.typed.Group().Status().Name
	return m, nil
}

// Of returns the shard of a key, from 0 to Config.Shards-1.
func (m *Map) Of(key string) int { return Of(key, m.cfg.Shards) }

// Shards returns how many shards there are.
func (m *Map) Shards() int { return m.cfg.Shards }

// Local returns the group and the machine of a shard, if this host has it. They are good for a call, not for keeps: when
// the shard is moved away, Local says so a while before the group stops. A call that is under way for longer gets
// replica.ErrStopped or ErrRemoved then; a proposal may have been applied, so propose with replica.Once and do it again
// where Hosts says.
func (m *Map) Local(shard int) (*replica.Group, replica.Machine, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, r := m.local[shard], m.row(shard)
	if l == nil || !slices.Contains(r.serving(), m.self) && !slices.Contains(r.Target, m.self) {
		return nil, nil, false
	}
	select {
	case <-l.group.Ready():
		return l.group, l.machine, true
	default: // it does not have everything yet
		return nil, nil, false
	}
}

// Hosts returns which hosts are to be asked for a shard, as far as this host knows: it may be behind, so that one of them
// passes the call on once more. Nil before the table is there.
func (m *Map) Hosts(shard int) []string { return slices.Clone(m.row(shard).serving()) }

// Rows returns where all shards are, as far as this host knows. The lists must not be changed.
func (m *Map) Rows() []Row { return slices.Clone(m.tables.now.Load().Rows) }

func (m *Map) row(shard int) Row {
	if t := m.tables.now.Load(); shard >= 0 && shard < len(t.Rows) {
		return t.Rows[shard]
	}
	return Row{}
}

// Table returns the group of the table.
func (m *Map) Table() *replica.Group { return m.typed.Group() }

// Ready is closed once this host knows where the shards are and is current in those that it has.
func (m *Map) Ready() <-chan struct{} { return m.ready }

// Name returns "shards NAME".
func (m *Map) Name() string { return "shards " + m.cfg.Name }

// Move takes a shard to other hosts, as many as it has replicas, and returns when it is there. The table has the move
// from the first moment: when ctx ends, or this host, it goes on all the same. Another Move of the same shard takes it
// elsewhere, at any time: that is the cure if a host that it moves to is gone for good. It may be called on any host.
func (m *Map) Move(ctx context.Context, shard int, to []string) error {
	to = slices.Compact(slices.Sorted(slices.Values(to)))
	var moving error // why it was not begun, the last time
	for {
		_, err := m.typed.Propose(ctx, command{Op: opMove, Shard: shard, Hosts: to})
		if err == nil {
			break
		}
		if moving != nil && ctx.Err() != nil {
			return failure.Wrap(moving, failure.CodeOf(ctx.Err()), "move shard %d: %v", shard, moving)
		}
		if moving = err; !errors.Is(err, ErrMoving) {
			return fmt.Errorf("move shard %d: %w", shard, err)
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return failure.Wrap(err, failure.CodeOf(ctx.Err()), "move shard %d: %v", shard, err)
		}
	}
	err := m.wait(ctx, func(t *table) bool { return shard < len(t.Rows) && t.Rows[shard].settled(to) })
	if err != nil {
		return failure.Wrap(err, failure.CodeOf(err), "move shard %d: it goes on, and was not there in time", shard)
	}
	return nil
}

// wait returns when the table is as wanted.
func (m *Map) wait(ctx context.Context, so func(t *table) bool) error {
	for {
		t, changed := m.tables.watch()
		if so(t) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Rebalance moves shards until they are spread evenly over hosts, with as few moves as that takes, a few at a time. Hosts
// that are not among them have none in the end. It returns when all are there, or with the first error.
func (m *Map) Rebalance(ctx context.Context, hosts []string) error {
	t := m.tables.now.Load()
	if len(t.Rows) == 0 {
		return ErrMoving.With("%s: there is no table yet", m.cfg.Name)
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(hosts)))); n < t.Replicas {
		return failure.New(failure.InvalidArgument, "%s: %d hosts for %d replicas", m.cfg.Name, n, t.Replicas)
	}
	current := make([][]string, len(t.Rows))
	for i, r := range t.Rows {
		current[i] = r.serving()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var work sync.WaitGroup
	slots := make(chan struct{}, moving)
	for i, to := range Plan(len(t.Rows), t.Replicas, hosts, current) {
		if t.Rows[i].settled(to) {
			continue
		}
		work.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := m.Move(ctx, i, to); err != nil {
				cancel(err)
			}
		})
	}
	work.Wait()
	return context.Cause(ctx)
}

// moving is how many shards Rebalance moves at once.
const moving = 4
