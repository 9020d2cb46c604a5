package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/replica/internal/core"
	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

// Trouble is a kind of fault.
type Trouble string

// The faults.
const (
	Split    Trouble = "split"    // a partition, of both ways or of one
	Isolate  Trouble = "isolate"  // the leader alone, of both ways or of one
	Kill     Trouble = "kill"     // a process; its files stay as written
	Power    Trouble = "power"    // a machine: what was not synced is there in part
	Blackout Trouble = "blackout" // all machines at once
	Freeze   Trouble = "freeze"   // a process stands still, longer than an election takes or shorter
	BadSync  Trouble = "badsync"  // a sync or write fails
	Full     Trouble = "full"     // a disk has no space
	Clock    Trouble = "clock"    // a clock changes its rate
	Drain    Trouble = "drain"    // a process hands over and ends
	Transfer Trouble = "transfer" // leadership is handed over
	Replace  Trouble = "replace"  // a member loses its disk and comes back as another
	Remove   Trouble = "remove"   // a member is taken out of the group and comes back as another
	Swap     Trouble = "swap"     // a spare gets the vote of a member
	Reset    Trouble = "reset"    // a connection breaks though both processes live
)

var all = []Trouble{Split, Isolate, Kill, Power, Blackout, Freeze, BadSync, Full, Clock, Drain, Transfer, Replace, Remove, Swap, Reset}

// Draw makes the schedule of a seed. Some troubles are left out of each: what only shows when one kind is absent, or
// alone, would be hidden by having all of them always.
func Draw(seed uint64) Config {
	r := rand.New(rand.NewPCG(seed, 0x7363686564756c65))
	pick := func(values ...float64) float64 { return values[r.IntN(len(values))] }
	ms := func(values ...float64) time.Duration {
		return time.Duration(pick(values...) * float64(time.Millisecond))
	}
	cfg := Config{
		Seed: seed, Members: int(pick(3, 3, 3, 3, 5, 5, 2, 1)), Clients: int(pick(3, 5, 8)), Keys: int(pick(1, 3, 9)), Think: ms(100, 300, 1000),
		Length: ms(4_000, 8_000, 16_000), Loss: pick(0, 0, 0.01, 0.1, 0.25), Double: pick(0, 0.02, 0.2), Late: pick(0, 0.01, 0.2),
		Delay: ms(0.3, 2, 20, 80), Sync: ms(0.2, 3, 30), Apply: ms(0.05, 1, 30), Segment: int64(pick(16<<10, 64<<10)),
		Slowest: 1, Fastest: 1, Every: ms(300, 1000, 3000),
		Core: core.Config{
			ElectionTimeout: ms(300, 1000), SnapshotEntries: int(pick(5, 20, 100, 1000)), KeepEntries: int(pick(1, 5, 50)),
			MaxInflight: int(pick(1, 2, 4)), MaxBatchBytes: int(pick(64, 1<<20)), MaxPending: int(pick(2, 1000)), ReplaceAfter: -1,
		},
	}
	cfg.Core.HeartbeatEvery = cfg.Core.ElectionTimeout / 10
	cfg.Core.Voters = cfg.Members
	if r.IntN(3) == 0 {
		cfg.Slowest, cfg.Fastest = 0.7, 1.4
	}
	if r.IntN(3) == 0 {
		cfg.Spares, cfg.Core.ReplaceAfter = 1, ms(1500, 4000)
	}
	for _, t := range all {
		if r.IntN(3) == 0 && cfg.allows(t) {
			cfg.Troubles = append(cfg.Troubles, t)
		}
	}
	return cfg
}

func (c Config) allows(t Trouble) bool {
	switch t {
	case Clock:
		return c.Slowest < c.Fastest
	case Replace, Remove:
		return c.Members > 2
	case Swap:
		return c.Spares > 0
	default:
		return true
	}
}

// trouble runs the troubled part. It ends early, and returns false, when something was found.
func (c *cluster) trouble() bool {
	end := c.w.now + c.cfg.Length
	if len(c.cfg.Troubles) > 0 {
		var next func()
		next = func() {
			if c.closing {
				return
			}
			c.cause(c.cfg.Troubles[c.w.rng.IntN(len(c.cfg.Troubles))])
			c.w.after(c.w.between(c.cfg.Every/10, 2*c.cfg.Every), next)
		}
		c.w.after(c.w.between(c.cfg.Every/10, 2*c.cfg.Every), next)
	}
	c.w.run(end, func() bool { return len(c.violations) > 0 })
	return len(c.violations) == 0
}

func (c *cluster) cause(t Trouble) {
	w := c.w
	n := c.nodes[w.rng.IntN(len(c.nodes))]
	if l := c.leader(); l != nil && (t == Isolate || w.chance(0.4)) {
		n = l // that is where it hurts
	}
	back := w.between(50*time.Millisecond, 6*time.Second)
	switch t {
	case Split, Isolate:
		c.split(t, n, back)
	case Kill, Power:
		if n.up {
			n.stop(t == Power, string(t))
			w.after(back, n.reviveIfTroubled(n.life))
		}
	case Blackout:
		for _, n := range c.nodes {
			n.stop(true, string(t))
			w.after(w.between(time.Millisecond, back), n.reviveIfTroubled(n.life))
		}
	case Freeze:
		if n.up && n.frozen <= w.now {
			w.note("%v is frozen for %v", n, back)
			n.frozen = w.now + back
		}
	case BadSync, Full:
		if n.up {
			n.breakDisk(t, back)
		}
	case Clock:
		n.clock.setRate(w.now, c.rate())
	case Transfer:
		if l := c.leader(); l != nil {
			to := uint64(0)
			if w.chance(0.5) {
				to = n.id
			}
			w.note("%v is to hand over to %x", l, to)
			l.later(0, func() { l.member.Transfer(l.now(), to) })
		}
	case Drain:
		c.drain(n, back)
	case Replace:
		if c.whole() {
			n.empty("its disk is lost")
		}
	case Remove, Swap:
		c.change(t, n)
	case Reset:
		for _, other := range c.nodes {
			if other != n && n.up {
				id := other.id
				n.later(0, func() { n.member.PeerDown(n.now(), id) })
			}
		}
	}
}

// drain has a process hand over, if it leads, and end a while later, as it is meant to be ended.
func (c *cluster) drain(n *node, back time.Duration) {
	n.later(0, func() {
		c.w.note("%v is to end", n)
		n.member.Transfer(n.now(), 0)
		n.later(c.w.between(time.Millisecond, time.Second), func() {
			n.member.Stop()
			n.stop(false, string(Drain))
			c.w.after(back, n.reviveIfTroubled(n.life))
		})
	})
}

// reviveIfTroubled starts the process again unless somebody else has.
func (n *node) reviveIfTroubled(life int) func() {
	return func() {
		if n.life == life {
			n.revive()
		}
	}
}

func (c *cluster) split(t Trouble, n *node, back time.Duration) {
	w := c.w
	a, b := []int{n.place}, []int{}
	for x := range c.nodes {
		switch {
		case x == n.place:
		case t == Split && len(a) < len(c.nodes)-1 && w.chance(0.5):
			a = append(a, x)
		default:
			b = append(b, x)
		}
	}
	oneWay := w.chance(0.3)
	w.note("split %v | %v, one way: %v, for %v", a, b, oneWay, back)
	if w.chance(0.5) {
		a, b = b, a
	}
	c.net.split(a, b, oneWay)
	w.after(back, func() {
		if w.chance(0.7) {
			w.note("healed")
			c.net.heal()
		}
	})
}

// breakDisk lets the disk of n fail for a while.
func (n *node) breakDisk(t Trouble, back time.Duration) {
	w := n.c.w
	w.note("%v: %s for %v", n, t, back)
	life := n.life
	if t == Full {
		n.fs.SetCapacity(0)
		w.after(back, func() { n.fs.SetCapacity(1 << 62) })
		return
	}
	kind, after := disk.OpSync, w.rng.IntN(3)
	switch w.rng.IntN(4) {
	case 0:
		kind = disk.OpWrite
	case 1:
		kind = disk.OpSyncDir
	}
	short := w.rng.IntN(600)
	n.fs.Inject(func(op disk.Op) error {
		if op.Kind != kind {
			return nil
		}
		if after--; after >= 0 {
			return nil
		}
		if kind == disk.OpWrite && op.Bytes > short {
			return disk.ShortError{N: short, Err: syscall.EIO}
		}
		return syscall.EIO
	})
	w.after(back, func() {
		if n.life == life {
			n.fs.Inject(nil)
		}
	})
}

// empty takes the disk of a member away; it comes back as another. The group is told to survive that for one member at a
// time, so it may be done when all members are in good standing, or to one that is none any more.
func (n *node) empty(why string) {
	w := n.c.w
	n.stop(true, why)
	n.id, n.lost = n.c.newID(), true
	n.fs = disk.NewSim(w.rng.Uint64())
	w.after(w.between(10*time.Millisecond, 2*time.Second), n.reviveIfTroubled(n.life))
}

// change asks the leader to change the members.
func (c *cluster) change(t Trouble, n *node) {
	l := c.leader()
	if !c.whole() {
		return
	}
	table := l.applier.Members()
	learner := slices.IndexFunc(table, func(m core.MemberInfo) bool { return m.Learner })
	done := func(err error) { c.w.note("%v: %s of %v: %v", l, t, n, err) }
	switch out := n.id; {
	case t == Remove:
		l.later(0, func() { l.member.Remove(l.now(), out, done) })
	case learner >= 0 && table[learner].ID != out:
		in := table[learner].ID
		l.later(0, func() { l.member.Replace(l.now(), in, out, done) })
	}
}

// inspect looks for nodes that are no members any more: package replica learns that from the others, and refuses to go
// on with their disks, and the operator empties them. But not before all that remain know: those that do not may still
// need the vote of the one that has left.
func (c *cluster) inspect() {
	c.w.after(500*time.Millisecond, c.inspect)
	out := map[*node]bool{}
	for _, n := range c.nodes {
		out[n] = slices.ContainsFunc(c.nodes, func(other *node) bool { return n.isOut(other) })
	}
	for _, n := range c.nodes {
		if out[n] && !slices.ContainsFunc(c.nodes, func(other *node) bool { return !other.lost && !out[other] && !n.isOut(other) }) {
			n.empty("it is no member any more")
			return
		}
	}
}

// isOut reports whether another member, which has applied at least as much, knows that n is none any more.
func (n *node) isOut(other *node) bool {
	return n.up && !n.lost && other.up && !other.lost && other.applier.Mark().Index >= n.applier.Mark().Index &&
		!slices.ContainsFunc(other.applier.Members(), func(m core.MemberInfo) bool { return m.ID == n.id })
}

// whole reports whether every node runs a member of the group and as many vote as should, as each of them sees it. The leader alone is not enough to
// ask: raft's changes of members count when they are applied, so that the others may still need the vote of the member
// that was replaced when the leader, and its disk, are gone.
func (c *cluster) whole() bool {
	for _, n := range c.nodes {
		if !n.up || n.lost {
			return false
		}
		table, voters := n.applier.Members(), 0
		for _, m := range table {
			if c.byID(m.ID) == nil {
				return false
			}
			if !m.Learner {
				voters++
			}
		}
		if len(table) != len(c.nodes) || voters != c.cfg.Members {
			return false
		}
	}
	return c.leader() != nil
}

// join asks leaders to be taken in until one has said yes and the log has come.
func (n *node) join() {
	w := n.c.w
	if n.machine.count > 0 || slices.ContainsFunc(n.applier.Members(), func(m core.MemberInfo) bool { return m.ID == n.id }) {
		w.note("%v is a member now", n)
		n.lost = false
		return
	}
	n.later(w.between(100*time.Millisecond, time.Second), n.join)
	l := n.c.leader()
	if l == nil || l == n {
		return
	}
	info := core.MemberInfo{ID: n.id, Name: n.String(), Addr: fmt.Sprint(n)}
	w.after(w.between(time.Millisecond, 50*time.Millisecond), func() {
		l.later(0, func() {
			l.member.Join(l.now(), info, func(err error) { w.note("%v asks %v to be taken in: %v", n, l, err) })
		})
	})
}
