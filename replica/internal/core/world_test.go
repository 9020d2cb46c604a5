package core

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// world is a few members, a network and disks that obey: each step moves one thing, always in the same order.
type world struct {
	t     *testing.T
	now   time.Time
	nodes map[uint64]*node
	net   []Message
	drop  func(Message) bool       // decides what is lost
	far   map[uint64]time.Duration // members, and how long what they send and get is on its way
	later []late
	twice bool // everything arrives twice
	cfg   func(*Config)
	lag   map[uint64]bool // members whose applier does nothing
	stuck map[uint64]bool // members whose disk does nothing
}

// late is a message on its way.
type late struct {
	Message
	at time.Time
}

type node struct {
	id      uint64
	m       *Member
	a       *Applier
	machine *counter
	up      bool
	skew    time.Duration // of its clock; not to be changed while it is up

	appends []*Append
	applies []*Apply
	// the disk
	hs      *raftpb.HardState
	entries []*raftpb.Entry
	file    []byte // the snapshot that the log begins with
	files   map[Mark][]byte
	starts  uint64
	writes  int
}

// counter appends commands to a list; "fail" is refused, "panic" panics.
type counter struct {
	log     []string
	indexes []uint64
	times   []time.Time
}

func (c *counter) Apply(e Entry) ([]byte, error) {
	switch string(e.Command) {
	case "fail":
		return nil, errors.New("no")
	case "panic":
		panic("boom")
	}
	c.log = append(c.log, string(e.Command))
	c.indexes = append(c.indexes, e.Index)
	c.times = append(c.times, e.Time)
	return fmt.Appendf(nil, "%s@%d", e.Command, len(c.log)), nil
}

type counterSnapshot []byte

func (c *counter) Snapshot() (MachineSnapshot, error) {
	var b []byte
	for _, s := range c.log {
		b = appendBytes(b, s)
	}
	return counterSnapshot(b), nil
}

func (s counterSnapshot) Write(w io.Writer) error { _, err := w.Write(s); return err }
func (s counterSnapshot) Release()                {}

func (c *counter) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	c.log = nil
	for cur := (cursor{b: b}); len(cur.b) > 0; {
		c.log = append(c.log, cur.str(1<<20))
	}
	return nil
}

const testElection = 100 * time.Millisecond

func newWorld(t *testing.T, ids ...uint64) *world {
	w := &world{t: t, now: time.Unix(1_000_000, 0), nodes: map[uint64]*node{}, lag: map[uint64]bool{}, stuck: map[uint64]bool{}}
	var infos []MemberInfo
	for _, id := range ids {
		infos = append(infos, MemberInfo{ID: id, Name: fmt.Sprintf("m%d", id)})
	}
	var file bytes.Buffer
	if err := Founding(infos).Write(&file); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		w.add(id, file.Bytes())
	}
	return w
}

func (w *world) add(id uint64, file []byte) *node {
	n := &node{id: id, file: file, files: map[Mark][]byte{}}
	w.nodes[id] = n
	w.start(n)
	return n
}

func (w *world) start(n *node) {
	w.t.Helper()
	n.starts++
	n.machine = &counter{}
	n.a = NewApplier(n.id, n.machine)
	if n.file != nil {
		if err := n.a.Restore(bytes.NewReader(n.file)); err != nil {
			w.t.Fatal(err)
		}
	}
	cfg := Config{ID: n.id, Seed: n.starts, ElectionTimeout: testElection}
	if w.cfg != nil {
		w.cfg(&cfg)
	}
	m, err := New(cfg, n.a, Restored{HardState: n.hs, Entries: n.entries}, w.at(n))
	if err != nil {
		w.t.Fatal(err)
	}
	n.m, n.up, n.appends, n.applies = m, true, nil, nil
}

// crash loses what was not on the disk.
func (w *world) crash(id uint64) {
	n := w.nodes[id]
	n.up = false
	n.m.Stop()
	w.net = slices.DeleteFunc(w.net, func(m Message) bool { return m.From == id || m.To == id })
}

func (w *world) restart(id uint64) { w.start(w.nodes[id]) }

func (w *world) ids() []uint64 {
	var out []uint64
	for id := range w.nodes {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// run moves everything until nothing is left to do at this moment.
func (w *world) run() {
	w.t.Helper()
	ids := w.ids()
	for range 10000 {
		busy := false
		for _, id := range ids {
			busy = w.turn(w.nodes[id]) || busy
		}
		net := w.net
		w.net = nil
		for _, m := range net {
			if d := max(w.far[m.From], w.far[m.To]); d > 0 {
				w.later = append(w.later, late{m, w.now.Add(d)})
				continue
			}
			busy = true
			for range 1 + flagInt(w.twice) {
				w.deliver(m)
			}
		}
		if !busy {
			return
		}
	}
	w.t.Fatal("the world does not come to rest")
}

func flagInt(b bool) int { return int(flag(b)) }

func (w *world) deliver(m Message) {
	n := w.nodes[m.To]
	if n == nil || !n.up || w.nodes[m.From] == nil || w.drop != nil && w.drop(m) {
		return
	}
	b, err := m.AppendBinary(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	got, err := ParseMessage(b)
	if err != nil {
		w.t.Fatalf("message %v: %v", m, err)
	}
	if got.Snapshot != nil {
		from := w.nodes[m.From]
		file := from.files[*got.Snapshot]
		if file == nil {
			h, err := ReadHeader(bytes.NewReader(from.file))
			if err != nil || h.Mark != *got.Snapshot {
				w.t.Fatalf("snapshot %v is announced and not there", *got.Snapshot)
			}
			file = from.file
		}
		n.files[*got.Snapshot] = file
		from.m.SnapshotSent(w.at(from), m.To, true)
	}
	n.m.Receive(w.at(n), got)
}

// turn does what one member wants done.
func (w *world) turn(n *node) (busy bool) {
	w.t.Helper()
	if !n.up {
		return false
	}
	work := n.m.Ready(w.at(n))
	if work.Err != nil {
		w.t.Fatalf("member %d: %v", n.id, work.Err)
	}
	w.net = append(w.net, work.Send...)
	n.appends = append(n.appends, work.Append...)
	n.applies = append(n.applies, work.Apply...)
	busy = len(work.Send)+len(work.Append)+len(work.Apply) > 0
	if work.Snapshot {
		busy = true
		c, err := n.a.Snapshot()
		if err != nil {
			w.t.Fatal(err)
		}
		var b bytes.Buffer
		if err := c.Write(&b); err != nil {
			w.t.Fatal(err)
		}
		c.Release()
		n.files[c.Mark] = b.Bytes()
		n.m.SnapshotSaved(w.at(n), c, int64(b.Len()))
	}
	if len(n.appends) > 0 && !w.stuck[n.id] {
		busy = true
		a := n.appends[0]
		n.appends = n.appends[1:]
		if a.Sync {
			n.write(w.t, a)
		} else if a.HardState != nil || a.Entries != nil || a.Installed != nil || a.Compact != nil {
			w.t.Fatalf("member %d: something to write that need not be durable", n.id)
		}
		w.net = append(w.net, a.Send...)
		n.m.Persisted(w.at(n), a)
	}
	if len(n.applies) > 0 && !w.lag[n.id] {
		busy = true
		item := n.applies[0]
		n.applies = n.applies[1:]
		var err error
		if item.Restore != nil {
			err = n.a.Restore(bytes.NewReader(n.files[*item.Restore]))
		} else {
			err = n.a.Apply(item)
		}
		if err != nil {
			w.t.Fatalf("member %d: %v", n.id, err)
		}
		n.m.Applied(w.at(n), item)
	}
	return busy
}

// write puts an Append on the node's disk, as a copy.
func (n *node) write(t *testing.T, a *Append) {
	n.writes++
	if a.Installed != nil {
		n.file, n.entries = n.files[*a.Installed], nil
		if n.file == nil {
			t.Fatalf("member %d: snapshot %v is installed and not there", n.id, *a.Installed)
		}
	}
	if a.Compact != nil {
		n.file = n.files[*a.Compact]
		n.entries = slices.DeleteFunc(n.entries, func(e *raftpb.Entry) bool { return e.GetIndex() <= a.Compact.Index })
	}
	if len(a.Entries) > 0 {
		first := a.Entries[0].GetIndex()
		n.entries = slices.DeleteFunc(n.entries, func(e *raftpb.Entry) bool { return e.GetIndex() >= first })
		for _, e := range a.Entries {
			n.entries = append(n.entries, proto.Clone(e).(*raftpb.Entry))
		}
	}
	if a.HardState != nil {
		n.hs = a.HardState
	}
}

// at is what a member takes for the time.
func (w *world) at(n *node) time.Time { return w.now.Add(n.skew) }

// pass lets time go by. Where nothing is due there is nothing to do, but for what a test has changed before.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	ids, due := w.ids(), true
	for end := w.now.Add(d); w.now.Before(end); due = false {
		w.now = w.now.Add(2 * time.Millisecond)
		w.later = slices.DeleteFunc(w.later, func(l late) bool {
			if w.now.Before(l.at) {
				return false
			}
			w.deliver(l.Message)
			due = true
			return true
		})
		for _, id := range ids {
			if n := w.nodes[id]; n.up && !w.at(n).Before(n.m.NextTick()) {
				n.m.Tick(w.at(n))
				due = true
			}
		}
		if due {
			w.run()
		}
	}
}

// until lets time go by until cond holds.
func (w *world) until(what string, cond func() bool) {
	w.t.Helper()
	for range 2000 {
		if cond() {
			return
		}
		w.pass(2 * time.Millisecond)
	}
	w.t.Fatalf("never: %s", what)
}

func (w *world) leader() *node {
	for _, id := range w.ids() {
		if n := w.nodes[id]; n.up && n.m.Status().Role == Leader {
			return n
		}
	}
	return nil
}

// lead returns the leader that the most members know, once there is one.
func (w *world) lead() *node {
	w.t.Helper()
	w.until("a leader that all know", func() bool {
		l := w.leader()
		if l == nil {
			return false
		}
		for _, n := range w.nodes {
			if s := n.m.Status(); n.up && s.Role != Removed && s.Leader != l.id {
				return false
			}
		}
		return true
	})
	return w.leader()
}

func (w *world) followers() (out []*node) {
	l := w.lead()
	for _, id := range w.ids() {
		if n := w.nodes[id]; n.up && n != l {
			out = append(out, n)
		}
	}
	return out
}

// call is a proposal or read and what became of it.
type call struct {
	Proposal
	Read
	n    int
	res  Result
	seen int // commands that the machine had when the read was let through
}

func (w *world) propose(n *node, command string, key ...string) *call {
	w.t.Helper()
	c := &call{}
	c.Proposal.Command = []byte(command)
	if len(key) > 0 {
		c.Proposal.Key = key[0]
	}
	c.Proposal.Done = func(r Result) { c.n++; c.res = r }
	if err := n.m.Propose(w.at(n), &c.Proposal); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) read(n *node) *call {
	w.t.Helper()
	c := &call{}
	c.Read.Done = func(err error) { c.n++; c.res.Err = err; c.seen = len(n.machine.log) }
	if err := n.m.Read(w.at(n), &c.Read); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) ok(c *call, want string) {
	w.t.Helper()
	w.until("an answer", func() bool { return c.n > 0 })
	if c.n != 1 || c.res.Err != nil || string(c.res.Bytes) != want {
		w.t.Fatalf("answered %d times with %q, %v; want %q once", c.n, c.res.Bytes, c.res.Err, want)
	}
}

// agree checks that all that are up have applied the same commands, once each.
func (w *world) agree(want ...string) {
	w.t.Helper()
	w.pass(2 * testElection)
	for _, id := range w.ids() {
		if n := w.nodes[id]; n.up && !slices.Equal(n.machine.log, want) {
			w.t.Fatalf("member %d has %q, want %q", id, n.machine.log, want)
		}
	}
}
