package found_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/replica/internal/found"
)

// world is some hosts that ask each other, crash, lose their disks and come back. Raft itself is a table per cluster that
// changes when somebody leads, which takes a majority of it.
type world struct {
	t        failer
	members  int
	founders []string
	hosts    []*host
	clusters map[uint64]*cluster
	next     uint64
}

// failer is a *rapid.T or *testing.T.
type failer interface {
	Fatalf(format string, args ...any)
}

type host struct {
	name    string
	id      uint64
	disk    found.State
	up      bool
	refused bool
	machine *found.Machine
	asked   map[string]*answer
}

type answer struct {
	given bool
	peer  *found.Peer
}

type cluster struct {
	applied  uint64
	voters   []found.Member
	learners []found.Member
}

func (c *cluster) table() []found.Member { return append(slices.Clone(c.voters), c.learners...) }

// promote gives a vote to a learner that has caught up: that of the same name, or one that is free.
func (c *cluster) promote(m found.Member, members int) {
	if !slices.Contains(c.learners, m) {
		return
	}
	i := slices.IndexFunc(c.voters, func(v found.Member) bool { return v.Name == m.Name })
	switch {
	case i >= 0:
		c.voters[i] = m
	case len(c.voters) < members:
		c.voters = append(c.voters, m)
	default:
		return
	}
	c.learners = slices.DeleteFunc(c.learners, func(l found.Member) bool { return l == m })
	c.applied++
}

func newWorld(t failer, hosts, members int, founders bool) *world {
	w := &world{t: t, members: members, clusters: make(map[uint64]*cluster)}
	for i := range hosts {
		name := fmt.Sprintf("h%d", i)
		w.hosts = append(w.hosts, &host{name: name, id: w.fresh(), asked: make(map[string]*answer)})
		if founders && i < members {
			w.founders = append(w.founders, name)
		}
	}
	return w
}

func (w *world) fresh() uint64 { w.next++; return w.next }

func (w *world) host(name string) *host {
	return w.hosts[slices.IndexFunc(w.hosts, func(h *host) bool { return h.name == name })]
}

func (w *world) start(h *host) {
	if h.up || h.refused {
		return
	}
	h.up = true
	h.machine = found.New(found.Config{
		Self: found.Member{Name: h.name, ID: h.id}, Members: w.members, Founders: w.founders, NewCluster: w.fresh,
	}, h.disk)
	var all []string
	for _, o := range w.hosts {
		all = append(all, o.name)
	}
	h.machine.About(all)
}

func (w *world) crash(h *host) {
	h.up, h.machine = false, nil
	clear(h.asked)
}

func (w *world) wipe(h *host) {
	if !h.up {
		h.id, h.disk, h.refused = w.fresh(), found.State{}, false
	}
}

func (w *world) leader(id uint64) *host {
	c := w.clusters[id]
	if c == nil {
		return nil
	}
	var lead *host
	up := 0
	for _, m := range c.voters {
		if h := w.host(m.Name); h.up && h.id == m.ID && h.disk.Kind == found.Active && h.disk.Record.Cluster == id {
			up++
			if lead == nil {
				lead = h
			}
		}
	}
	if up <= len(c.voters)/2 {
		return nil
	}
	return lead
}

func (w *world) answerOf(h *host) *found.Peer {
	p := &found.Peer{Member: found.Member{Name: h.name, ID: h.id}, State: h.disk}
	if h.disk.Kind == found.Active {
		if lead := w.leader(h.disk.Record.Cluster); lead == h {
			c := w.clusters[h.disk.Record.Cluster]
			p.Leading, p.Applied, p.Commit, p.Table = true, c.applied, c.applied, c.table()
		}
	}
	return p
}

func (w *world) deliver(h *host, name string) {
	a := h.asked[name]
	if !h.up || a == nil || !a.given {
		return
	}
	delete(h.asked, name)
	h.machine.Observe(name, a.peer)
}

// step does what the machine of a host says. crash: 0 none, 1 before it is durable, 2 after.
func (w *world) step(h *host, crash int) {
	if !h.up {
		return
	}
	if h.disk.Kind == found.Active {
		id := h.disk.Record.Cluster
		lead := w.leader(id)
		if c := w.clusters[id]; lead != nil && slices.Contains(c.table(), found.Member{Name: h.name, ID: h.id}) {
			c.promote(found.Member{Name: h.name, ID: h.id}, w.members)
		}
		h.machine.Own(found.Own{Leader: lead != nil})
	}
	s := h.machine.Next()
	switch s.Action {
	case found.Wait:
		if s.Why == "" {
			w.t.Fatalf("%s waits and does not say for what", h.name)
		}
	case found.Join:
		if lead := w.leader(s.Cluster); lead != nil && lead.name == s.Leader && crash == 0 {
			c := w.clusters[s.Cluster]
			c.applied++
			c.learners = slices.DeleteFunc(c.learners, func(m found.Member) bool { return m.Name == h.name })
			c.learners = append(c.learners, found.Member{Name: h.name, ID: h.id})
		}
	case found.Refuse:
		c := w.clusters[h.disk.Record.Cluster]
		if s.Refusal != found.Removed || c == nil || slices.Contains(c.table(), found.Member{Name: h.name, ID: h.id}) {
			w.t.Fatalf("%s is refused: %+v", h.name, s)
		}
		w.crash(h)
		h.refused = true
	case found.Store:
		w.store(h, s.State, crash)
	}
}

func (w *world) store(h *host, s found.State, crash int) {
	if h.disk.Kind == found.Active {
		w.t.Fatalf("%s is active and stores %+v", h.name, s)
	}
	if crash == 1 {
		w.crash(h)
		return
	}
	h.disk = s
	if s.Kind == found.Active {
		w.activated(h, s.Record)
	}
	if crash == 2 {
		w.crash(h)
		return
	}
	h.machine.Stored(s)
}

// activated checks what all this is for.
func (w *world) activated(h *host, r found.Record) {
	for _, o := range w.hosts {
		if o != h && o.disk.Kind == found.Active && o.disk.Record.Cluster != r.Cluster {
			w.t.Fatalf("%s is active in cluster %d, and the disk of %s in cluster %d", h.name, r.Cluster, o.name, o.disk.Record.Cluster)
		}
	}
	if w.clusters[r.Cluster] == nil {
		if len(r.Members) != w.members {
			w.t.Fatalf("%s is the first of cluster %d, of %d members", h.name, r.Cluster, len(r.Members))
		}
		w.clusters[r.Cluster] = &cluster{applied: 1, voters: slices.Clone(r.Members)}
	}
}

// settle lets everything work until nothing changes any more.
func (w *world) settle() {
	var all []string
	for _, h := range w.hosts {
		all = append(all, h.name)
	}
	for range 40 {
		for _, h := range w.hosts {
			w.start(h)
			if h.up {
				h.machine.About(all)
			}
			for _, o := range w.hosts {
				if o != h && o.up {
					h.asked[o.name] = &answer{true, w.answerOf(o)}
					w.deliver(h, o.name)
				}
			}
			w.step(h, 0)
			if h.refused { // as somebody does who reads what it says
				w.wipe(h)
			}
		}
	}
}

// whole reports whether a majority of the only cluster's members still has its disk.
func (w *world) whole() bool {
	for _, h := range w.hosts {
		if h.disk.Kind != found.Active {
			continue
		}
		c := w.clusters[h.disk.Record.Cluster]
		there := 0
		for _, m := range c.voters {
			// One that was named and has not noticed yet goes on with what it has been given.
			if w.host(m.Name).id == m.ID {
				there++
			}
		}
		return there > len(c.voters)/2
	}
	return true // none yet
}

// There are never two clusters while a member of the first one has its disk, and there is one in the end, unless most of
// the disks are gone.
func TestNeverTwoClusters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.SampledFrom([]int{1, 2, 3, 3, 3, 5}).Draw(t, "members")
		named := rapid.Bool().Draw(t, "named")
		// Any two parties of founders have a host in common, which keeps its disk where nothing says who founds.
		spares := rapid.IntRange(0, min(2, members-1)).Draw(t, "spares")
		lose := named || spares == 0
		everybody := rapid.Bool().Draw(t, "everybody")
		w := newWorld(t, members+spares, members, named)
		for _, h := range w.hosts {
			if rapid.IntRange(0, 3).Draw(t, "up") > 0 {
				w.start(h)
			}
		}
		steps := rapid.IntRange(0, 250).Draw(t, "steps")
		for range steps {
			h := rapid.SampledFrom(w.hosts).Draw(t, "host")
			if !everybody && h.up && rapid.IntRange(0, 7).Draw(t, "news") == 0 { // some hosts know of a few only
				about := rapid.SliceOfNDistinct(rapid.SampledFrom(w.hosts), members-1, len(w.hosts), func(o *host) string { return o.name }).Draw(t, "about")
				names := make([]string, 0, len(about))
				for _, o := range about {
					names = append(names, o.name)
				}
				h.machine.About(names)
			}
			o := rapid.SampledFrom(w.hosts).Draw(t, "other")
			switch rapid.IntRange(0, 23).Draw(t, "what") {
			case 0:
				w.crash(h)
			case 1, 2:
				w.start(h)
			case 3:
				if lose && rapid.IntRange(0, 2).Draw(t, "really") == 0 {
					w.crash(h)
					w.wipe(h)
				}
			case 4, 5, 6: // ask
				if h.up && h != o && h.asked[o.name] == nil {
					h.asked[o.name] = &answer{}
				}
			case 7, 8: // answer
				if a := h.asked[o.name]; a != nil && !a.given && o.up {
					a.given, a.peer = true, w.answerOf(o)
				}
			case 9, 10:
				w.deliver(h, o.name)
			case 11: // too late
				if h.up && h.asked[o.name] != nil {
					delete(h.asked, o.name)
					h.machine.Observe(o.name, nil)
				}
			case 12, 16, 17, 18, 19: // all of it at once
				if h.up && h != o && o.up {
					h.asked[o.name] = &answer{true, w.answerOf(o)}
					w.deliver(h, o.name)
				}
			case 13, 14, 20, 21, 22, 23:
				w.step(h, 0)
			case 15:
				w.step(h, rapid.IntRange(1, 2).Draw(t, "crash"))
			}
		}
		w.settle()
		if !w.whole() {
			return
		}
		first := w.hosts[0].disk
		for _, h := range w.hosts {
			if h.disk.Kind != found.Active || h.disk.Record.Cluster != first.Record.Cluster {
				t.Fatalf("in the end %s is %v of cluster %d, and %s %v of cluster %d: %+v", h.name, h.disk.Kind, h.disk.Record.Cluster,
					w.hosts[0].name, first.Kind, first.Record.Cluster, h.machine.Next())
			}
		}
	})
}
