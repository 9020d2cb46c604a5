package sim

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/internal/linear"
	"github.com/holdfast-go/holdfast/replica/internal/core"
	"github.com/holdfast-go/holdfast/replica/internal/disk"
	"github.com/holdfast-go/holdfast/replica/internal/snap"
	"github.com/holdfast-go/holdfast/replica/internal/wal"
)

// Config is one schedule: how many members, how the world is, and for how long. [Draw] makes one from a seed.
type Config struct {
	Seed    uint64
	Members int // that vote
	Spares  int // that do not, until one is needed
	Clients int
	Keys    int
	Think   time.Duration // between two operations of a client, at most
	Length  time.Duration // of the troubled part, in simulated time

	Loss, Double, Late float64       // of messages
	Delay              time.Duration // of messages, at most, if they are not late
	Sync               time.Duration // of one write to the disk, at most
	Apply              time.Duration // of one item for the applier, at most
	Segment            int64         // bytes of a segment of the log
	Slowest, Fastest   float64       // rates of the clocks

	Cut      [][2]int      // ways between members (from, to) that carry nothing until the troubled part ends
	Troubles []Trouble     // what happens, besides what the network does all the time
	Every    time.Duration // between two troubles, on average

	Core core.Config // of every member, but for ID, Group, Seed

	// Log gets the transcript. Nil: nobody.
	Log io.Writer
}

// Result is what a schedule came to.
type Result struct {
	Seed       uint64
	Troubles   []Trouble
	History    []linear.Op
	Verdict    linear.Verdict
	Violations []string // what no history shows: members that differ, two leaders of a term, a member that cannot start, no progress
	Transcript uint64   // hash of the transcript and of the history

	Simulated                                time.Duration
	Messages, Lost, Starts, Leaders          int
	Snapshots, Installs, Unknown, Done, Lazy int // Lazy: reads that were fresh enough without asking
}

// OK reports whether nothing was found.
func (r Result) OK() bool { return r.Verdict.OK() && len(r.Violations) == 0 }

// First is the first line of what was found, "" if nothing was.
func (r Result) First() string {
	line := strings.Join(r.Violations, "\n")
	if line == "" && !r.Verdict.OK() {
		_, line, _ = strings.Cut(r.Verdict.String(), "\n")
	}
	line, _, _ = strings.Cut(line, "\n")
	return line
}

func (r Result) String() string {
	s := fmt.Sprintf("seed %d: %v simulated, %d messages (%d lost), %d starts, %d leaders, %d snapshots, %d installed, %d operations (%d of unknown outcome, %d reads without a round), troubles %v",
		r.Seed, r.Simulated.Round(time.Second), r.Messages, r.Lost, r.Starts, r.Leaders, r.Snapshots, r.Installs, r.Done, r.Unknown, r.Lazy, r.Troubles)
	for _, v := range r.Violations {
		s += "\n" + v
	}
	if !r.Verdict.OK() {
		s += "\n" + r.Verdict.String()
	}
	return s
}

// cluster is a run.
type cluster struct {
	cfg     Config
	w       *world
	net     *network
	nodes   []*node
	clients []*client
	history linear.History
	seen    map[string]string // what was read last of a key, for compare-and-swap

	closing bool // no new operations
	over    bool // nothing is tried again

	applied    map[uint64]uint64 // command → hash of what was applied
	leaders    map[uint64]uint64 // term → leader
	violations []string
	nextID     uint64
	founders   []core.MemberInfo

	starts, snapshots, installs, unknown, refused, lazy int
}

const (
	settle = 60 * time.Second // how long after the last trouble everything must have been answered
	judge  = 20 * time.Second // real time for the search in one key's history
)

// Run runs a schedule. It uses no goroutine and no time but its own.
func Run(cfg Config) Result {
	c := &cluster{
		cfg: cfg, w: newWorld(cfg.Seed, cfg.Log), seen: map[string]string{},
		applied: map[uint64]uint64{}, leaders: map[uint64]uint64{},
	}
	c.net = &network{w: c.w, loss: cfg.Loss, double: cfg.Double, late: cfg.Late, delay: cfg.Delay, cut: map[[2]int]bool{}}
	c.w.note("%d members and %d spares, %d clients, troubles %v every %v", cfg.Members, cfg.Spares, cfg.Clients, cfg.Troubles, cfg.Every)
	var final map[string]string
	if c.found() && c.trouble() {
		final = c.finish()
	}
	ops := c.history.Ops()
	for _, op := range ops {
		fmt.Fprintln(c.w.sum, op)
	}
	r := Result{
		Seed: cfg.Seed, Troubles: cfg.Troubles, History: ops, Violations: c.violations, Transcript: c.w.sum.Sum64(), Simulated: c.w.now,
		Messages: c.net.sent, Lost: c.net.lost, Starts: c.starts, Leaders: len(c.leaders),
		Snapshots: c.snapshots, Installs: c.installs, Unknown: c.unknown, Lazy: c.lazy,
	}
	for _, op := range ops {
		if op.Outcome == linear.Done {
			r.Done++
		}
	}
	r.Verdict = linear.Check(ops, final, judge)
	return r
}

// found makes the members and starts them.
func (c *cluster) found() bool {
	for i := range c.cfg.Members + c.cfg.Spares {
		n := &node{c: c, place: i, id: c.newID(), fs: disk.NewSim(c.w.rng.Uint64())}
		n.clock = clock{at: time.Unix(1_700_000_000, 0).Add(c.w.between(0, time.Minute)), rate: c.rate()}
		c.nodes = append(c.nodes, n)
		if n.lost = i >= c.cfg.Members; !n.lost {
			c.founders = append(c.founders, core.MemberInfo{ID: n.id, Name: n.String(), Addr: n.String()})
		}
	}
	for _, way := range c.cfg.Cut {
		c.net.cut[way] = true
	}
	c.inspect()
	for _, n := range c.nodes {
		if n.lost {
			c.w.after(c.w.between(0, time.Second), n.revive)
			continue
		}
		if err := n.format(); err != nil {
			c.violate("founding", "%v: %v", n, err)
			return false
		}
		if err := n.start(); err != nil {
			c.violate("founding", "%v: %v", n, err)
			return false
		}
	}
	for i := range c.cfg.Clients {
		cl := &client{c: c, id: i}
		c.clients = append(c.clients, cl)
		cl.next()
	}
	return true
}

// format puts the founding snapshot on a disk.
func (n *node) format() error {
	snaps, err := snap.Open(n.fs, "snap", snap.Config{Rand: n.c.w.rng.Uint64})
	if err != nil {
		return err
	}
	first := core.Founding(n.c.founders)
	n.snaps = snaps
	if _, err := n.save(first); err != nil {
		return err
	}
	log, err := wal.Open(n.fs, "wal", wal.Config{SegmentBytes: n.c.cfg.Segment, Rand: n.c.w.rng.Uint64})
	if err != nil {
		return err
	}
	if err := log.Append([]wal.Update{{Group: group, Mark: new(wal.Mark(first.Mark))}}); err != nil {
		return err
	}
	return log.Close()
}

func (c *cluster) newID() uint64 {
	c.nextID++
	return c.nextID<<32 | uint64(c.w.rng.Uint32())
}

func (c *cluster) rate() float64 {
	return c.cfg.Slowest + c.w.rng.Float64()*(c.cfg.Fastest-c.cfg.Slowest)
}

// byID returns the node that runs the member, nil if none does any more.
func (c *cluster) byID(id uint64) *node {
	for _, n := range c.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

// leader returns the leader of the newest term among those that run, or nil.
func (c *cluster) leader() *node {
	var best *node
	for _, n := range c.nodes {
		if n.up && n.frozen <= c.w.now && n.member.Status().Role == core.Leader && (best == nil || n.member.Status().Term > best.member.Status().Term) {
			best = n
		}
	}
	return best
}

// watch looks at a member after each of its steps.
func (c *cluster) watch(n *node) {
	s := n.member.Status()
	if s.Role != core.Leader {
		return
	}
	if before, ok := c.leaders[s.Term]; ok && before != s.ID {
		c.violate("two leaders", "%v leads term %d, as %x did", n, s.Term, before)
	} else if !ok {
		c.w.note("%v leads term %d", n, s.Term)
	}
	c.leaders[s.Term] = s.ID
}

func (c *cluster) violate(kind, format string, args ...any) {
	const most = 20
	line := fmt.Sprintf("%.6f %s: ", c.w.now.Seconds(), kind) + fmt.Sprintf(format, args...)
	c.w.note("VIOLATION %s", line)
	if len(c.violations) < most {
		c.violations = append(c.violations, line)
	}
}

// finish ends all troubles, lets the clients get their answers, and reads everything at every member. It returns nil if
// that cannot be done.
func (c *cluster) finish() map[string]string {
	c.closing = true
	if c.w.chance(0.4) {
		for _, n := range c.nodes {
			n.stop(true, "all at the end")
		}
	}
	c.peace()
	answered := func() bool {
		for _, cl := range c.clients {
			if cl.busy {
				return false
			}
		}
		return true
	}
	if c.w.run(c.w.now+settle, answered); !answered() {
		c.violate("stuck", "%v after the last trouble there are operations without an answer: %s", settle, c.state())
		return nil
	}
	c.over = true
	if c.w.run(c.w.now+settle, c.complete); !c.complete() {
		c.violate("stuck", "%v after the last trouble not everybody is a member: %s", settle, c.state())
		return nil
	}
	final := map[string]string{}
	for _, n := range c.nodes {
		for k := range c.cfg.Keys {
			if !c.readFinally(n, fmt.Sprintf("k%d", k), final) {
				return nil
			}
		}
	}
	c.compare()
	return final
}

// complete reports whether every node is a member, as each of them sees it.
func (c *cluster) complete() bool { return len(c.nodes) < 3 || c.whole() }

// peace ends all troubles.
func (c *cluster) peace() {
	c.net.heal()
	c.net.loss, c.net.double, c.net.late = 0, 0, 0
	for _, n := range c.nodes {
		n.frozen = 0
		n.fs.Inject(nil)
		n.fs.SetCapacity(1 << 62)
		n.clock.setRate(c.w.now, 1)
		n.revive()
	}
	c.w.note("peace")
}

// readFinally reads a key at a member until it answers. It is part of the history: an operation of unknown outcome may
// take effect even now.
func (c *cluster) readFinally(n *node, key string, final map[string]string) bool {
	answered := false
	place := c.history.Begin(linear.Op{Client: len(c.clients) + n.place, Kind: linear.Get, Key: key, Call: c.w.now})
	var ask func()
	ask = func() {
		n.read(key, linearizable, 5*time.Second, func(value []byte, err error) {
			if err != nil {
				c.w.after(10*time.Millisecond, ask)
				return
			}
			final[key], answered = string(value), true
			c.history.End(place, c.w.now, func(op *linear.Op) { op.Got = string(value) })
		})
	}
	ask()
	if c.w.run(c.w.now+settle, func() bool { return answered }); !answered {
		c.violate("stuck", "%v does not answer a read in %v of peace: %s", n, settle, c.state())
	}
	return answered
}

// compare waits until all members have applied the same and compares all they have.
func (c *cluster) compare() {
	level := func() bool {
		for _, n := range c.nodes {
			if !n.up || n.machine.count != c.nodes[0].machine.count {
				return false
			}
		}
		return true
	}
	if c.w.run(c.w.now+settle, level); !level() {
		c.violate("stuck", "members do not come to the same state in %v of peace: %s", settle, c.state())
		return
	}
	var first []byte
	for i, n := range c.nodes {
		var b bytes.Buffer
		if err := n.machine.store.Write(&b); err != nil {
			c.violate("diverged", "%v: %v", n, err)
		}
		if i == 0 {
			first = b.Bytes()
		} else if !bytes.Equal(first, b.Bytes()) {
			c.violate("diverged", "%v and %v differ at command %d", n, c.nodes[0], n.machine.count)
		}
	}
}

// state is how all members stand, in a line.
func (c *cluster) state() string {
	s := ""
	for _, n := range c.nodes {
		if !n.up {
			s += fmt.Sprintf("%v down; ", n)
			continue
		}
		st := n.member.Status()
		s += fmt.Sprintf("%v role %d term %d leader %x commit %d applied %d pending %d reads %d, %d members; ", n, st.Role, st.Term, st.Leader, st.Commit, st.Applied, st.Pending, st.Reads, len(st.Members))
	}
	return s
}
