package found_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/replica/internal/found"
)

// A founding is resumed wherever it was interrupted: each host in turn crashes at each of the steps that it stores, before
// it is durable or after.
func TestFoundingIsResumed(t *testing.T) {
	for host := range 3 {
		for at := range 3 {
			for crash := 1; crash <= 2; crash++ {
				t.Run(fmt.Sprintf("h%d at step %d, crash %d", host, at, crash), func(t *testing.T) {
					w := newWorld(t, 3, 3, false)
					stores := 0
					for range 12 {
						for n, h := range w.hosts {
							w.start(h)
							h.machine.About([]string{"h0", "h1", "h2"})
							for _, o := range w.hosts {
								if o != h && o.up {
									h.asked[o.name] = &answer{true, w.answerOf(o)}
									w.deliver(h, o.name)
								}
							}
							c := 0
							if n == host && h.machine.Next().Action == found.Store {
								if stores == at {
									c = crash
								}
								stores++
							}
							w.step(h, c)
						}
					}
					w.settle()
					for _, h := range w.hosts {
						if h.disk.Kind != found.Active || h.disk.Record.Cluster != w.hosts[0].disk.Record.Cluster {
							t.Fatalf("%s is %+v", h.name, h.disk)
						}
					}
					if len(w.clusters) != 1 {
						t.Fatalf("there were %d clusters", len(w.clusters))
					}
				})
			}
		}
	}
}

var (
	self   = found.Member{Name: "b", ID: 2}
	record = found.Record{Cluster: 7, Founder: found.Member{Name: "a", ID: 1}, Members: []found.Member{{Name: "a", ID: 1}, self, {Name: "c", ID: 3}}}
	others = []found.Member{{Name: "a", ID: 1}, {Name: "c", ID: 3}}
)

// What a member does about what it sees, case by case.
func TestCases(t *testing.T) {
	fresh := func(name string, id uint64) *found.Peer { return &found.Peer{Member: found.Member{Name: name, ID: id}} }
	with := func(name string, id uint64, k found.Kind, r found.Record) *found.Peer {
		p := fresh(name, id)
		p.State = found.State{Kind: k, Record: r, Since: 1}
		return p
	}
	lead := func(p *found.Peer, applied uint64, table ...found.Member) *found.Peer {
		p.Leading, p.Applied, p.Commit, p.Table = true, applied, applied, table
		return p
	}
	strange := found.Record{Cluster: 9, Founder: found.Member{Name: "x", ID: 8}, Members: []found.Member{{Name: "x", ID: 8}}}
	older := record
	older.Members = []found.Member{{Name: "a", ID: 1}, {Name: "b", ID: 99}, {Name: "c", ID: 3}}
	for _, c := range []struct {
		name  string
		state found.State
		own   found.Own
		peers []*found.Peer
		want  string // the action, its details, and what Why contains
	}{
		{"nobody answers", found.State{}, found.Own{}, nil, "wait: answers of a, c"},
		{"one is missing", found.State{}, found.Own{}, []*found.Peer{fresh("a", 1)}, "wait: answers of c"},
		{"another one founds", found.State{}, found.Own{}, []*found.Peer{fresh("a", 1), fresh("c", 3)}, "wait: waits for a to found"},
		{"it is founded", found.State{}, found.Own{}, []*found.Peer{with("a", 1, found.Prepared, record), fresh("c", 3)}, "store prepared 7"},
		{"with another disk of this name", found.State{}, found.Own{}, []*found.Peer{with("a", 1, found.Prepared, older), fresh("c", 3)}, "wait: has begun, by a"},
		{"somebody else passes it on", found.State{}, found.Own{}, []*found.Peer{fresh("a", 1), with("c", 3, found.Prepared, record)}, "wait: has begun, by c"},
		{"the founder decides", found.State{Kind: found.Prepared, Record: record}, found.Own{}, []*found.Peer{with("a", 1, found.Prepared, record)}, "wait: waits for a"},
		{"the founder is away", found.State{Kind: found.Prepared, Record: record}, found.Own{}, []*found.Peer{with("c", 3, found.Prepared, record)}, "wait: does not answer"},
		{"the founder has decided", found.State{Kind: found.Prepared, Record: record}, found.Own{}, []*found.Peer{with("a", 1, found.Active, record)}, "store active 7"},
		{"the founder took it back", found.State{Kind: found.Prepared, Record: record}, found.Own{}, []*found.Peer{fresh("a", 1)}, "store fresh 0"},
		{"the founder has lost its disk", found.State{Kind: found.Prepared, Record: record}, found.Own{}, []*found.Peer{fresh("a", 11)}, "store fresh 0"},
		{"another cluster lives", found.State{Kind: found.Prepared, Record: record}, found.Own{}, []*found.Peer{with("c", 3, found.Active, strange)}, "store fresh 0"},
		{"it was counted in", found.State{}, found.Own{}, []*found.Peer{with("c", 3, found.Active, record)}, "store active 7"},
		{"it was counted in, and somebody has data of another group", found.State{}, found.Own{}, []*found.Peer{with("a", 1, found.Active, record), with("c", 3, found.Active, strange)}, "store active 7"},
		{"it was added", found.State{}, found.Own{}, []*found.Peer{lead(with("c", 3, found.Active, older), 5, append(others, self)...)}, "store active 7"},
		{"it has lost its disk", found.State{}, found.Own{}, []*found.Peer{lead(with("a", 1, found.Active, older), 5, older.Members...)}, "join a"},
		{"nobody leads", found.State{}, found.Own{}, []*found.Peer{with("a", 1, found.Active, older), fresh("c", 4)}, "wait: no leader"},
		{"two clusters", found.State{}, found.Own{}, []*found.Peer{with("a", 1, found.Active, older), with("c", 3, found.Active, strange)}, "wait: another group"},
		{"a member", found.State{Kind: found.Active, Record: record, Since: 1}, found.Own{Leader: true}, nil, "wait: member"},
		{"two clusters, each with a leader", found.State{Kind: found.Active, Record: record, Since: 1}, found.Own{Leader: true}, []*found.Peer{lead(with("c", 3, found.Active, strange), 5)}, "wait: c leads cluster 9 of the same group"},
		{"another cluster while nobody leads this one", found.State{Kind: found.Active, Record: record, Since: 1}, found.Own{}, []*found.Peer{lead(with("c", 3, found.Active, strange), 5)}, "wait: c leads cluster 9 of the same group"},
		{"another cluster, and a member is here", found.State{Kind: found.Active, Record: record, Since: 1}, found.Own{}, []*found.Peer{with("a", 1, found.Active, record), lead(with("c", 3, found.Active, strange), 5)}, "wait: c leads cluster 9 of the same group"},
		{"a strange disk here", found.State{Kind: found.Active, Record: record, Since: 1}, found.Own{}, []*found.Peer{with("a", 1, found.Active, strange), lead(with("c", 3, found.Active, strange), 5)}, "refuse foreign: of cluster 9, which c leads"},
		{"a strange disk here that still leads", found.State{Kind: found.Active, Record: record, Since: 1}, found.Own{Leader: true}, []*found.Peer{with("a", 1, found.Active, strange), lead(with("c", 3, found.Active, strange), 5)}, "wait: c leads cluster 9 of the same group"},
		{"a table that has grown since", found.State{Kind: found.Active, Record: record, Since: 1}, found.Own{Table: append(others, self, found.Member{Name: "d", ID: 4})}, []*found.Peer{with("a", 1, found.Active, strange), lead(with("c", 3, found.Active, strange), 5)}, "wait: c leads cluster 9 of the same group"},
		{"a strange disk, and nobody leads", found.State{Kind: found.Active, Record: record, Since: 1}, found.Own{}, []*found.Peer{with("c", 3, found.Active, strange)}, "wait: member"},
		{"removed", found.State{Kind: found.Active, Record: record, Since: 1}, found.Own{}, []*found.Peer{lead(with("a", 1, found.Active, record), 5, others...)}, "refuse removed: ID 2"},
		{"removed, and seen it", found.State{Kind: found.Active, Record: record, Since: 1}, found.Own{Removed: true}, nil, "refuse removed: ID 2"},
		{"a leader from before it was added", found.State{Kind: found.Active, Record: older, Since: 6}, found.Own{}, []*found.Peer{lead(with("a", 1, found.Active, older), 5, others...)}, "wait: member"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := found.New(found.Config{Self: self, Members: 3, NewCluster: func() uint64 { return 7 }}, c.state)
			m.About([]string{"a", "b", "c"})
			for _, p := range c.peers {
				m.Observe(p.Name, p)
			}
			m.Own(c.own)
			s := m.Next()
			got := ""
			switch s.Action {
			case found.Wait:
				got = "wait: "
			case found.Store:
				got = fmt.Sprintf("store %v %d", s.State.Kind, s.State.Record.Cluster)
			case found.Join:
				got = "join " + s.Leader
			case found.Refuse:
				got = map[found.Refusal]string{found.Foreign: "refuse foreign: ", found.Removed: "refuse removed: "}[s.Refusal]
			}
			head, why, _ := strings.Cut(c.want, ": ")
			if strings.TrimSuffix(got, ": ") != head || !strings.Contains(s.Why, why) {
				t.Errorf("got %s%q, want %s", got, s.Why, c.want)
			}
		})
	}
}

func TestAFoundingAmongMoreThanItTakes(t *testing.T) {
	for _, c := range []struct {
		about, founders []string
		want            bool
	}{
		{[]string{"c", "d"}, nil, false},
		{[]string{"c", "d", "e"}, nil, true},
		{[]string{"c", "d", "e"}, []string{"b", "c", "d"}, false},
	} {
		m := found.New(found.Config{Self: self, Members: 3, Founders: c.founders, NewCluster: func() uint64 { return 7 }}, found.State{})
		m.About(c.about)
		for i, n := range c.about {
			m.Observe(n, &found.Peer{Member: found.Member{Name: n, ID: uint64(10 + i)}})
		}
		if s := m.Next(); s.Action != found.Store || m.Unnamed() != c.want {
			t.Errorf("%+v: %+v, unnamed %v", c, s, m.Unnamed())
		}
	}
}

func TestGone(t *testing.T) {
	m := found.New(found.Config{Self: self, Members: 3}, found.State{Kind: found.Active, Record: record, Since: 1})
	m.About([]string{"a", "c"})
	see := func(name string, id uint64, leading bool, table ...found.Member) {
		m.Observe(name, &found.Peer{
			Member: found.Member{Name: name, ID: id}, State: found.State{Kind: found.Active, Record: record}, Leading: leading, Applied: 9, Commit: 9, Table: table,
		})
	}
	see("a", 1, true, record.Members...)
	see("c", 3, false, others...)
	if m.Gone() {
		t.Error("the leader counts it in")
	}
	see("a", 1, true, others...)
	see("c", 3, false, record.Members...)
	if m.Gone() {
		t.Error("another member counts it in")
	}
	see("c", 3, false, others...)
	if !m.Gone() {
		t.Error("nobody counts it in")
	}
	m.Observe("c", nil)
	if m.Gone() {
		t.Error("one of them has not said so")
	}
	m.Observe("a", &found.Peer{
		Member: found.Member{Name: "a", ID: 1}, State: found.State{Kind: found.Active, Record: record}, Leading: true, Applied: 9, Commit: 9,
		Table: others, Learners: []uint64{3},
	})
	if !m.Gone() {
		t.Error("one that does not vote has not said so")
	}
}
