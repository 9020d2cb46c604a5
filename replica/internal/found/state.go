package found

import (
	"fmt"
	"slices"
)

// Kind is how far a member is.
type Kind uint8

// The kinds, in the order in which a member goes through them.
const (
	Fresh    Kind = iota // nothing is known: no cluster, no votes
	Prepared             // holds a record that may become a cluster
	Active               // belongs to the cluster, for ever
)

// String is the kind's name.
func (k Kind) String() string {
	switch k {
	case Fresh:
		return "fresh"
	case Prepared:
		return "prepared"
	case Active:
		return "active"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Member is a host's part in a group. ID is of one disk: random, never 0, another one for another disk.
type Member struct {
	Name string
	ID   uint64
}

// Record is a founding. Members that join later keep it, too: it is where their log begins.
type Record struct {
	Cluster uint64
	Founder Member
	Members []Member // sorted by name
}

func (r Record) lists(m Member) bool { return slices.Contains(r.Members, m) }

func (r Record) id(name string) uint64 {
	for _, m := range r.Members {
		if m.Name == name {
			return m.ID
		}
	}
	return 0
}

// State is what a member has on its disk. Record is empty in a Fresh one.
type State struct {
	Kind   Kind
	Record Record
	// Since is an index of the log from which on the table has this member, unless it was removed.
	Since uint64
}

// Peer is what another host has answered.
type Peer struct {
	Member
	State State
	// Leading: it leads its cluster. Table are the members by its state, which is that of an index from Applied to
	// Commit; nil if it is not Active.
	Leading         bool
	Applied, Commit uint64
	Table           []Member
	Learners        []uint64 // IDs of those of Table that do not vote
}

func (p *Peer) tabled(m Member) bool { return slices.Contains(p.Table, m) }

func (p *Peer) names(name string) bool {
	return slices.ContainsFunc(p.Table, func(m Member) bool { return m.Name == name })
}

// Config is what a Machine goes by.
type Config struct {
	Self Member
	// Members is how many found a group. Founders, if set, are their names; others never found.
	Members  int
	Founders []string
	// Invited: joins only a group that names it already, by its table. Hosts that are no founders need not have the group
	// at all, so that a founding does not wait for their answers: whoever makes such a group knows that it is new.
	Invited bool
	// NewCluster makes a number that was never used, and is not 0.
	NewCluster func() uint64
}

// Own is what the member's own replicated state says, once it is Active.
type Own struct {
	Leader  bool // it knows who leads its cluster
	Removed bool // it was in the table, and is not any more
	// Table are the members by its state, as of an index that may be old; nil if it has none yet.
	Table []Member
}

// Action is what to do next.
type Action uint8

// The actions.
const (
	Wait   Action = iota // until something changes; Why says for what
	Store                // make State durable, then call Stored
	Join                 // ask Leader to take this member in; nothing is stored for it
	Refuse               // this disk must not take part; Refusal and Why say why
)

// Refusal is why a disk must not take part.
type Refusal uint8

// The refusals.
const (
	// Foreign: all other members of the disk's cluster belong to another one now. It holds for as long as they say so.
	Foreign Refusal = iota + 1
	// Removed: the cluster has gone on without this disk. It is for good.
	Removed
)

// Step is what to do next.
type Step struct {
	Action  Action
	State   State
	Leader  string
	Refusal Refusal
	Cluster uint64 // of a Join, of a refusal, and with Alarm: the other one
	Why     string
	// Alarm: somebody should look at this.
	Alarm bool
}

func store(kind Kind, r Record) Step {
	s := State{Kind: kind, Record: r}
	if kind == Active {
		s.Since = 1
	}
	return Step{Action: Store, State: s}
}
