package shard

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/replica"
)

const (
	// lookEvery is how often a Map looks after its shards, beside when the table changes.
	lookEvery = 250 * time.Millisecond
	// stepTimeout bounds one step of a move; it is tried again.
	stepTimeout = 10 * time.Second
	// closeEnough is how many entries a new host may be behind to take a vote.
	closeEnough = 256
	// grace is how long the old hosts of a shard stay after others are asked: for calls that are under way, and for hosts
	// whose copy of the table is behind.
	grace = 2 * time.Second
	// settle is how long a host leads a shard before it hands it to the preferred one: after a failure leaders are not
	// sent around at once, nor to a host that is about to stop.
	settle = 15 * time.Second
)

// Run looks after the shards of this host, and after the moves of those that it leads, until ctx ends.
func (m *Map) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	ready := false
	for {
		t, changed := m.tables.watch()
		if len(t.Rows) == 0 {
			m.begin(ctx)
		}
		if n := len(t.Rows); n > 0 && n != m.cfg.Shards {
			return fmt.Errorf("shards %s: configured are %d, and the table was made with %d", m.cfg.Name, m.cfg.Shards, n)
		}
		for i, r := range t.Rows {
			m.look(ctx, &work, i, r, t.Replicas)
		}
		if !ready && m.current(t) {
			ready = true
			close(m.ready)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-look.C:
		}
	}
}

// current reports whether this host has all that the table says.
func (m *Map) current(t *table) bool {
	select {
	case <-m.typed.Group().Ready():
	default:
		return false
	}
	if len(t.Rows) == 0 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, r := range t.Rows {
		if !slices.Contains(r.Hosts, m.self) {
			continue
		}
		l := m.local[i]
		if l == nil {
			return false
		}
		select {
		case <-l.group.Ready():
		default:
			return false
		}
	}
	return true
}

// begin makes the table, if this host leads it and it is empty.
func (m *Map) begin(ctx context.Context) {
	g := m.typed.Group()
	if _, self := g.Leader(); !self {
		return
	}
	hosts := m.cfg.Hosts
	if len(hosts) == 0 {
		for _, member := range g.Status().Members {
			if !member.Learner {
				hosts = append(hosts, member.Name)
			}
		}
	}
	if len(hosts) < m.cfg.Replicas {
		m.log.Warn("shard: too few hosts for a table", "hosts", hosts, "replicas", m.cfg.Replicas)
		return
	}
	rows := make([]Row, m.cfg.Shards)
	for i, on := range Plan(m.cfg.Shards, m.cfg.Replicas, hosts, nil) {
		rows[i].Hosts = on
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	if _, err := m.typed.Propose(ctx, command{Op: opInit, Replicas: m.cfg.Replicas, Rows: rows}); err != nil {
		m.log.Warn("shard: the table could not be made", "error", err)
	}
}

// look does what a row asks of this host, the part that may take time in a goroutine.
func (m *Map) look(ctx context.Context, work *sync.WaitGroup, shard int, r Row, replicas int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.local[shard]
	leaving := slices.Contains(r.Leaving, m.self)
	if l == nil && (r.wants(m.self) || leaving) {
		var err error
		if l, err = m.take(shard, r, replicas); err != nil {
			m.log.Warn("shard: cannot be had", "shard", shard, "error", err)
			return
		}
		m.local[shard] = l
	}
	if l == nil || l.busy {
		return
	}
	var step func(ctx context.Context) error
	switch _, leads := l.group.Leader(); {
	case leads && r.Founded && r.Target != nil: // also if this host is to go: nobody else can let it
		step = func(ctx context.Context) error { return m.drive(ctx, shard, l, r) }
	case !r.wants(m.self):
		step = func(ctx context.Context) error { return m.leave(ctx, shard, l, leaving) }
	case !leads:
		l.led = time.Time{}
	case !r.Founded:
		step = func(ctx context.Context) error {
			_, err := m.typed.Propose(ctx, command{Op: opFounded, Shard: shard})
			return err
		}
	case l.led.IsZero():
		l.led = time.Now()
	case time.Since(l.led) > settle:
		l.led = time.Now()
		if to := preferred(shard, r.Hosts); to != m.self {
			step = func(ctx context.Context) error { return m.prefer(ctx, l.group, to) }
		}
	}
	if step == nil {
		return
	}
	l.busy = true
	work.Go(func() {
		try, cancel := context.WithTimeout(ctx, stepTimeout)
		defer cancel()
		if err := step(try); err != nil && ctx.Err() == nil {
			m.log.Info("shard: tried again", "shard", shard, "error", err)
			select { // not as fast as it fails
			case <-time.After(lookEvery):
			case <-ctx.Done():
			}
		}
		m.mu.Lock()
		l.busy = false
		m.mu.Unlock()
	})
}

// take makes this host a member of a shard's group, or has it go on. A shard that was founded once is never founded
// again, so that hosts which have lost it, or never had it, wait for those that have: the names of the founders are
// then those of nobody.
func (m *Map) take(shard int, r Row, replicas int) (*local, error) {
	cfg := m.cfg.Group
	cfg.Members = r.Hosts
	if r.Founded {
		cfg.Members = nil
		for i := range replicas {
			cfg.Members = append(cfg.Members, fmt.Sprintf("(founded long ago: %d)", i))
		}
	}
	l := &local{machine: m.cfg.Machine(shard)}
	var err error
	l.group, err = m.host.Group(fmt.Sprintf("%s:%d", m.cfg.Name, shard), l.machine, cfg)
	return l, err
}

// leave deletes what this host has of a shard that is elsewhere, and says so.
func (m *Map) leave(ctx context.Context, shard int, l *local, say bool) error {
	if err := l.group.Leave(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	delete(m.local, shard)
	m.mu.Unlock()
	if !say {
		return nil
	}
	_, err := m.typed.Propose(ctx, command{Op: opLeft, Shard: shard, Host: m.self})
	return err
}

// prefer hands a shard to the host that should lead it, if that is fit to.
func (m *Map) prefer(ctx context.Context, g *replica.Group, to string) error {
	for _, member := range g.Status().Members {
		if member.Name == to && !member.Learner && member.Up && member.Lag <= closeEnough {
			return g.Transfer(ctx, to)
		}
	}
	return nil
}

// drive takes the next steps of a move; this host leads the shard's group. What was done already shows in the group's
// members, so that it may stop anywhere and be taken up again by whoever leads then.
func (m *Map) drive(ctx context.Context, shard int, l *local, r Row) error {
	g, target := l.group, r.Target
	if !r.Switched {
		l.since = time.Time{}
	} else if l.since.IsZero() {
		l.since = time.Now()
	}
	for ctx.Err() == nil {
		if now := m.row(shard); !slices.Equal(now.Target, target) || now.Switched != r.Switched {
			return nil // it goes elsewhere
		}
		members := g.Status().Members
		find := func(name string) *replica.Member {
			i := slices.IndexFunc(members, func(x replica.Member) bool { return x.Name == name })
			if i < 0 {
				return nil
			}
			return &members[i]
		}
		var waits, learn, votes, lead []string // of the target: those that catch up, those that have, those that vote, that can lead
		for _, name := range target {
			switch x := find(name); {
			case x == nil:
				if err := g.AddMember(ctx, name, false); err != nil {
					return fmt.Errorf("add %s: %w", name, err)
				}
				waits = append(waits, name)
			case !x.Learner:
				votes = append(votes, name)
				if x.Up {
					lead = append(lead, name)
				}
			case x.Lag > closeEnough || !x.Up:
				waits = append(waits, name)
			default:
				learn = append(learn, name)
			}
		}
		var out []string // members that are not of the target, this one last
		for _, x := range members {
			if !slices.Contains(target, x.Name) {
				out = append(out, x.Name)
			}
		}
		slices.SortFunc(out, func(a, b string) int {
			return cmp.Or(compare(a == m.self, b == m.self), strings.Compare(a, b))
		})
		switch {
		case len(waits) > 0:
		case len(out) == 0 && len(votes) == len(target):
			_, err := m.typed.Propose(ctx, command{Op: opDone, Shard: shard, Hosts: target})
			if err == nil {
				m.log.Info("shard: moved", "shard", shard, "hosts", target)
			}
			return err
		case len(out) == 0: // the last ones get the votes that are free
		case !r.Switched: // all have caught up, and nobody has gone
			_, err := m.typed.Propose(ctx, command{Op: opSwitch, Shard: shard, Hosts: target})
			return err
		case time.Since(l.since) < grace:
		case out[0] == m.self && len(lead) > 0:
			return g.Transfer(ctx, preferred(shard, lead)) // which goes on
		default:
			in := ""
			if len(learn) > 0 && !find(out[0]).Learner {
				in = learn[0]
			}
			if err := m.out(ctx, shard, g, r, out[0], in); err != nil {
				return err
			}
		}
		select {
		case <-time.After(lookEvery / 5):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// out takes a host out of a shard's group; in, if there is one, gets its vote. The table has it first, and only if the shard
// still moves to where it did: so a host that the table counts among those who have the shard is a member, whatever some
// leader of before is still about to do.
func (m *Map) out(ctx context.Context, shard int, g *replica.Group, r Row, host, in string) error {
	if _, err := m.typed.Propose(ctx, command{Op: opOut, Shard: shard, Hosts: r.Target, Host: host}); err != nil {
		return fmt.Errorf("take %s out: %w", host, err)
	}
	if in == "" {
		if err := g.RemoveMember(ctx, host); err != nil {
			return fmt.Errorf("remove %s: %w", host, err)
		}
		return nil
	}
	if err := g.ReplaceMember(ctx, host, in); err != nil {
		return fmt.Errorf("replace %s by %s: %w", host, in, err)
	}
	return nil
}

// compare orders false before true.
func compare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
