// Package found decides how a member gets its group: whether it founds it with others, joins it, goes on with it, or must
// keep away. It is pure: observations in, steps out. The shell asks the other hosts, stores what is to be stored, and
// reports back.
//
// A founding goes through three states, each durable before it is shown to anybody:
//
//	Fresh ──► Prepared(record) ──► Active(record)
//	  ▲            │
//	  └────────────┘ given up
//
// The record names the cluster (a random number), who founds it and the members by name and ID. The lowest name of the
// expected members, once all of them are there and Fresh, makes a record and is Prepared. The others, when they see it
// Prepared and themselves in its record, are Prepared with it. When the founder has seen all of them so, it is Active,
// and whoever sees an Active member that counts it in is Active, too.
//
// What makes it safe: a member holds one record at a time; Active is never left (but with the disk); only the founder
// turns its record into a cluster, only after every other member has held it, and as long as it has not, it alone may
// take it back. So of two records that name the same hosts at most one is ever Active: for both to be, each founder
// would have held the other's record before it made its own. The property test in this package goes through crashes,
// lost disks and answers that are late at each of these steps.
//
// What is taken for granted: that observations of one host are in order (one question at a time, late answers thrown
// away), that an ID is never used for two disks, and that either Config.Founders names those that may found, or no more
// hosts than Config.Members are found by disjoint parties at the very first start.
package found

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Machine decides for one member of one group. For one goroutine.
type Machine struct {
	cfg   Config
	state State
	names []string // others that are about, sorted
	seen  map[string]*Peer
	own   Own

	unnamed bool
}

// Unnamed reports whether this member has begun a founding while more hosts were about than it takes, and nothing says
// which of them found: another time, in two parts that do not see each other, there would have been two.
func (m *Machine) Unnamed() bool { return m.unnamed }

// New returns the Machine of a member that has state on its disk.
func New(cfg Config, state State) *Machine {
	return &Machine{cfg: cfg, state: state, seen: make(map[string]*Peer)}
}

// State returns what is durable.
func (m *Machine) State() State { return m.state }

// About says which hosts are about, as far as can be known; its own name is left out.
func (m *Machine) About(names []string) {
	m.names = m.names[:0]
	for _, n := range names {
		if n != m.cfg.Self.Name && !slices.Contains(m.names, n) {
			m.names = append(m.names, n)
		}
	}
	slices.Sort(m.names)
	for n := range m.seen {
		if !slices.Contains(m.names, n) {
			delete(m.seen, n)
		}
	}
}

// Observe takes an answer of a host, in the order in which that host was asked. nil: it has not answered.
func (m *Machine) Observe(name string, p *Peer) {
	switch {
	case name == m.cfg.Self.Name || !slices.Contains(m.names, name):
	case p == nil || p.Name != name || p.ID == 0:
		delete(m.seen, name)
	default:
		m.seen[name] = p
	}
}

// Own takes what the member's replicated state says.
func (m *Machine) Own(o Own) { m.own = o }

// Stored says that the State of a Step is durable.
func (m *Machine) Stored(s State) { m.state = s }

// Next returns what to do now.
func (m *Machine) Next() Step {
	switch m.state.Kind {
	case Active:
		return m.active()
	case Prepared:
		return m.prepared()
	case Fresh:
	}
	return m.fresh()
}

// peers returns what is known of the others, in the order of their names.
func (m *Machine) peers() []*Peer {
	out := make([]*Peer, 0, len(m.seen))
	for _, n := range m.names {
		if p := m.seen[n]; p != nil {
			out = append(out, p)
		}
	}
	return out
}

func (m *Machine) active() Step {
	mine := m.state.Record.Cluster
	if m.own.Removed {
		return Step{
			Action: Refuse, Refusal: Removed, Cluster: mine,
			Why: fmt.Sprintf("cluster %x has removed this member (ID %x)", mine, m.cfg.Self.ID),
		}
	}
	var strange *Peer
	for _, p := range m.peers() {
		if p.State.Kind != Active || !p.Leading {
			continue
		}
		if p.State.Record.Cluster != mine {
			strange = cmp.Or(strange, p)
			continue
		}
		// A leader that has been replaced without knowing may have a table from before this member was added.
		if p.Applied >= m.state.Since && !p.tabled(m.cfg.Self) {
			return Step{
				Action: Refuse, Refusal: Removed, Cluster: mine,
				Why: fmt.Sprintf("cluster %x, led by %s, has removed this member (ID %x)", mine, p.Name, m.cfg.Self.ID),
			}
		}
	}
	if strange != nil {
		return m.strange(strange)
	}
	return Step{Why: fmt.Sprintf("member of cluster %x", mine)}
}

// strange is what a member does about a host that leads another cluster of the same group. That alone says nothing of which
// of the two is the good one: a host that was once started where it saw nobody is enough for it. So the member goes on,
// unless it is left alone: everybody else that it shared a cluster with belongs to the other one.
func (m *Machine) strange(p *Peer) Step {
	mine, other := m.state.Record.Cluster, p.State.Record.Cluster
	s := Step{Alarm: true, Cluster: other, Why: fmt.Sprintf("member of cluster %x, and %s leads cluster %x of the same group: there are two of it here, "+
		"with different data. Find out which one is wanted before anything is removed, and stop the hosts of the other", mine, p.Name, other)}
	table := m.own.Table
	if len(table) == 0 {
		table = m.state.Record.Members
	}
	var gone []string
	for _, o := range table {
		if o.Name == m.cfg.Self.Name {
			continue
		}
		if p := m.seen[o.Name]; p == nil || p.State.Kind != Active || p.State.Record.Cluster != other {
			return s
		}
		gone = append(gone, o.Name)
	}
	if m.own.Leader || len(gone) == 0 {
		return s
	}
	slices.Sort(gone)
	s.Action, s.Refusal = Refuse, Foreign
	s.Why = fmt.Sprintf("its data is of cluster %x, and all others of that (%s) are of cluster %x, which %s leads", mine, strings.Join(gone, ", "), other, p.Name)
	return s
}

func (m *Machine) prepared() Step {
	r := m.state.Record
	for _, p := range m.peers() {
		if p.State.Kind != Active {
			continue
		}
		if p.State.Record.Cluster == r.Cluster {
			return store(Active, r)
		}
		return store(Fresh, Record{}) // another one was quicker; ours cannot have become a cluster
	}
	if r.Founder == m.cfg.Self {
		return m.founding(r)
	}
	founder := m.seen[r.Founder.Name]
	switch {
	case founder == nil:
		return Step{Why: fmt.Sprintf("a founding of cluster %x waits for %s, which began it and does not answer; if that has lost its "+
			"disk, start a host of that name with an empty one", r.Cluster, r.Founder.Name)}
	case founder.ID != r.Founder.ID, founder.State.Record.Cluster != r.Cluster:
		return store(Fresh, Record{}) // it was taken back, or lost before anybody was Active
	}
	return Step{Why: fmt.Sprintf("a founding of cluster %x waits for %s to see all members", r.Cluster, r.Founder.Name)}
}

// founding is the founder's part: only here a record becomes a cluster.
func (m *Machine) founding(r Record) Step {
	var missing []string
	for _, other := range r.Members {
		if other == m.cfg.Self {
			continue
		}
		p := m.seen[other.Name]
		switch {
		case p == nil:
			missing = append(missing, other.Name)
		case p.ID != other.ID:
			return store(Fresh, Record{}) // it has lost its disk meanwhile
		case p.State.Kind == Prepared && p.State.Record.Cluster == r.Cluster:
		case p.State.Kind == Prepared:
			// It holds another founding, whose founder will take that back when it sees this one, or we give in to
			// it: of two that wait for each other the lower name goes on.
			if p.State.Record.Founder.Name < m.cfg.Self.Name {
				return store(Fresh, Record{})
			}
			missing = append(missing, other.Name)
		default:
			missing = append(missing, other.Name)
		}
	}
	if len(missing) == 0 {
		return store(Active, r)
	}
	return Step{Why: fmt.Sprintf("founding cluster %x: waits for %s", r.Cluster, strings.Join(missing, ", "))}
}

func (m *Machine) fresh() Step {
	if s, ok := m.existing(); ok {
		return s
	}
	for _, p := range m.peers() {
		r := p.State.Record
		if p.State.Kind == Prepared && r.Founder == p.Member && r.lists(m.cfg.Self) && m.mayFound(r) {
			return store(Prepared, r)
		}
	}
	return m.found()
}

// existing is what to do about a cluster that is there already.
func (m *Machine) existing() (Step, bool) {
	if r, ok := m.counted(); ok {
		return store(Active, r), true
	}
	var there, leader *Peer
	for _, p := range m.peers() {
		if p.State.Kind != Active {
			continue
		}
		if there != nil && there.State.Record.Cluster != p.State.Record.Cluster {
			return Step{Why: fmt.Sprintf("%s belongs to cluster %x and %s to %x: one of them has data of another group in its directory",
				there.Name, there.State.Record.Cluster, p.Name, p.State.Record.Cluster)}, true
		}
		there = p
		if p.Leading {
			leader = p
		}
	}
	if there == nil {
		return Step{}, false
	}
	cluster := there.State.Record.Cluster
	for _, p := range m.peers() {
		if p.State.Kind == Active && p.tabled(m.cfg.Self) {
			s := store(Active, p.State.Record)
			s.State.Since = max(1, p.Commit)
			return s, true
		}
	}
	switch {
	case leader == nil:
		return Step{Why: fmt.Sprintf("cluster %x has no leader at the moment: waits for one to be added by", cluster)}, true
	case m.cfg.Invited && !leader.names(m.cfg.Self.Name):
		return Step{Why: fmt.Sprintf("cluster %x does not have this host among its members: waits to be added", cluster)}, true
	}
	return Step{Action: Join, Leader: leader.Name, Cluster: cluster, Why: fmt.Sprintf("asks %s to be added to cluster %x", leader.Name, cluster)}, true
}

// counted returns the founding that has this disk among its members, if one of those has said so. That is this member's
// group, whatever others have: a host with the data of another one may have made it let go of the record just before.
func (m *Machine) counted() (r Record, ok bool) {
	for _, p := range m.peers() {
		if p.State.Kind != Active || !p.State.Record.lists(m.cfg.Self) {
			continue
		}
		if ok && p.State.Record.Cluster != r.Cluster {
			return Record{}, false
		}
		r, ok = p.State.Record, true
	}
	return r, ok
}

// mayFound reports whether this host takes part in that founding.
func (m *Machine) mayFound(r Record) bool {
	if m.cfg.Founders == nil {
		return len(r.Members) == m.cfg.Members
	}
	for _, n := range m.cfg.Founders {
		if r.id(n) == 0 {
			return false
		}
	}
	return len(r.Members) == len(m.cfg.Founders)
}

// found begins a founding if it is this host's turn.
func (m *Machine) found() Step {
	self := m.cfg.Self
	want, names := m.cfg.Members, m.cfg.Founders
	if names == nil {
		all := append([]string{self.Name}, m.names...)
		slices.Sort(all)
		if len(all) < want {
			return Step{Why: fmt.Sprintf("waits for %d hosts to found the group; there are %d: %s", want, len(all), strings.Join(all, ", "))}
		}
		names = all[:want]
	}
	var missing, busy []string
	for _, n := range m.names { // all that are about: one of them might have the group
		switch p := m.seen[n]; {
		case p == nil && m.cfg.Invited && !slices.Contains(names, n):
		case p == nil:
			missing = append(missing, n)
		case p.State.Kind != Fresh:
			busy = append(busy, n)
		}
	}
	for _, n := range names {
		if n != self.Name && !slices.Contains(m.names, n) {
			missing = append(missing, n)
		}
	}
	switch {
	case len(missing) > 0:
		return Step{Why: "waits for answers of " + strings.Join(missing, ", ")}
	case len(busy) > 0:
		return Step{Why: "waits for a founding that has begun, by " + strings.Join(busy, ", ")}
	case slices.Min(names) != self.Name:
		return Step{Why: fmt.Sprintf("waits for %s to found the group", slices.Min(names))}
	}
	r := Record{Cluster: m.cfg.NewCluster(), Founder: self}
	m.unnamed = m.cfg.Founders == nil && len(m.names)+1 > want
	for _, n := range names {
		if n == self.Name {
			r.Members = append(r.Members, self)
		} else {
			r.Members = append(r.Members, m.seen[n].Member)
		}
	}
	slices.SortFunc(r.Members, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	if len(r.Members) == 1 {
		return store(Active, r)
	}
	return store(Prepared, r)
}

// ID returns the ID that the host of that name has said to have, 0 if it has not.
func (m *Machine) ID(name string) uint64 {
	if p := m.seen[name]; p != nil {
		return p.ID
	}
	return 0
}

// Gone reports whether this member can be forgotten: it never was one, or a leader has a table without it, and so has
// everybody who votes by that. Until then the vote of this member may be needed, since a change of members counts for each
// member from when that one has applied it. Those that only learn ask for no votes, and applied this one's end before they
// get one of their own: one of them that is lost for good keeps nobody here.
func (m *Machine) Gone() bool {
	if m.state.Kind == Fresh {
		return true
	}
	for _, leader := range m.peers() {
		if !leader.Leading || leader.State.Record.Cluster != m.state.Record.Cluster || leader.tabled(m.cfg.Self) {
			continue
		}
		return !slices.ContainsFunc(leader.Table, func(o Member) bool {
			if slices.Contains(leader.Learners, o.ID) {
				return false
			}
			p := m.seen[o.Name]
			return p == nil || p.ID != o.ID || p.State.Record.Cluster != m.state.Record.Cluster || len(p.Table) == 0 || p.tabled(m.cfg.Self)
		})
	}
	return false
}

// Joining reports whether there is a cluster that a Fresh member waits for.
func (m *Machine) Joining() bool {
	_, there := m.existing()
	return m.state.Kind == Fresh && there
}
