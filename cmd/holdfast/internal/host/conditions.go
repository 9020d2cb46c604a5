//go:build unix

package host

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/platform/agent"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/supervise"
)

// said is what the processes say of themselves and of each other, by instance.
type said map[string]agent.StateSaid

// conditions is how each instance is, by what it says and by what others say of it.
func (s said) conditions() map[string]control.Condition {
	out := make(map[string]control.Condition, len(s))
	for id, state := range s {
		c := out[id] // others may have said something of it
		c.Draining, c.RSS, c.Goroutines, c.Heap, c.Admin = state.Draining, state.RSS, state.Goroutines, state.GC.Heap, state.Admin
		var leads []string
		for _, g := range state.Groups {
			if g.Role == roleLeader {
				leads = append(leads, g.Name)
			}
		}
		for _, l := range state.Leads {
			leads = append(leads, l.Name)
		}
		c.Role = role(leads)
		out[id] = c
		for of, why := range ejections(state.State) {
			target := out[of]
			target.Ejected = append(target.Ejected, strings.TrimSuffix("by "+id+": "+why, ": "))
			out[of] = target
		}
	}
	for _, c := range out {
		slices.Sort(c.Ejected)
	}
	return out
}

const (
	roleLeader = "leader"
	roleAway   = "away"
	// maxLeads is how many of what an instance leads are named.
	maxLeads = 3
)

// role says in a line what an instance leads.
func role(leads []string) string {
	slices.Sort(leads)
	leads = slices.Compact(leads)
	switch {
	case len(leads) == 0:
		return ""
	case len(leads) > maxLeads:
		return fmt.Sprintf("leader of %s and %d more", strings.Join(leads[:maxLeads], ", "), len(leads)-maxLeads)
	}
	return "leader of " + strings.Join(leads, ", ")
}

// ejections are the instances that a process gives no calls at the moment, and why. One that is tried again with single calls still is
// one of them.
func ejections(s fault.State) map[string]string {
	out := make(map[string]string)
	for _, b := range s.Balancers {
		for _, i := range b.Instances {
			if i.State == fault.InstanceEjected || i.State == fault.InstanceProbing {
				out[i.ID] = i.Why
			}
		}
	}
	return out
}

// groups are the Raft groups by service and name, put together from what each member says of them: the word of whoever is
// in the latest term counts. serviceOf is by instance.
func (s said) groups(serviceOf map[string]string) []control.Group {
	type view struct {
		group   control.Group
		members map[string]control.GroupMember
		voters  map[string]bool
		errors  int
	}
	type name struct{ service, group string }
	views := make(map[name]*view)
	for _, id := range slices.Sorted(maps.Keys(s)) {
		for _, g := range s[id].Groups {
			key := name{serviceOf[id], g.Name}
			v := views[key]
			if v == nil {
				v = &view{group: control.Group{Service: key.service, Name: g.Name}, members: make(map[string]control.GroupMember), voters: make(map[string]bool)}
				views[key] = v
			}
			if g.Term > v.group.Term || g.Term == v.group.Term && g.Leader != "" {
				v.group.Term, v.group.Leader = g.Term, g.Leader
			}
			for _, m := range g.Members {
				v.voters[m.Name] = v.voters[m.Name] || m.Voter
				if _, ok := v.members[m.Name]; !ok {
					v.members[m.Name] = control.GroupMember{Instance: m.Name, Role: roleAway, Applied: m.Applied}
				}
			}
			if g.Error != "" {
				v.errors++
			}
			v.members[id] = control.GroupMember{Instance: id, Role: g.Role, Applied: g.Applied}
		}
	}
	out := make([]control.Group, 0, len(views))
	for _, v := range views {
		away := 0
		for _, id := range slices.Sorted(maps.Keys(v.members)) {
			m := v.members[id]
			if m.Role == roleLeader && m.Instance != v.group.Leader {
				m.Role = "follower" // it has not noticed yet
			}
			// An instance that was stopped for good, such as one that stood in for a restart, is a member for some minutes more, without a
			// vote: it is missed by nobody.
			if m.Role == roleAway && (v.voters[id] || serviceOf[id] != "") {
				away++
			}
			v.group.Members = append(v.group.Members, m)
		}
		switch {
		case v.group.Leader == "":
			v.group.Trouble = "no leader is known"
		case away > 0:
			v.group.Trouble = fmt.Sprintf("%d of %s do not answer", away, count(len(v.members), "member"))
		case v.errors > 0:
			v.group.Trouble = fmt.Sprintf("%d of %s cannot be used", v.errors, count(len(v.members), "member"))
		}
		out = append(out, v.group)
	}
	slices.SortFunc(out, func(a, b control.Group) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// locks are those that are held and elections that are won, by name.
func (s said) locks() []control.Lock {
	var out []control.Lock
	for id, state := range s {
		for _, l := range state.Locks {
			out = append(out, control.Lock{Name: l.Name, Holder: id, Token: l.Token, Since: l.Since})
		}
		for _, l := range state.Leads {
			out = append(out, control.Lock{Name: l.Name, Holder: id, Token: l.Token, Since: l.Since, Election: true})
		}
	}
	slices.SortFunc(out, func(a, b control.Lock) int { // of two who think so the later one holds it
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(b.Token, a.Token), cmp.Compare(a.Holder, b.Holder))
	})
	return out
}

// maxNews bounds the events about one change of what processes say: a service of a hundred instances that comes back has
// something to say of each to everybody.
const maxNews = 40

// news is what has happened between two looks. stopping has the instances of which that is known otherwise.
func news(before, after said, serviceOf map[string]string, stopping map[string]bool, now time.Time) []control.Event {
	var out []control.Event
	tell := func(instance, state, format string, args ...any) {
		out = append(out, control.Event{
			Time: now, Service: serviceOf[instance], Instance: instance, State: state, Message: fmt.Sprintf(format, args...),
		})
	}
	for _, id := range slices.Sorted(maps.Keys(after)) {
		was, is := before[id], after[id]
		if was.PID != is.PID {
			was = agent.StateSaid{} // another process, that begins with nothing
		}
		if service := serviceOf[id]; service != "" && is.Service != "" && is.Service != service && was.Service != is.Service {
			tell(id, "", "%s registers as %.128q: nobody finds it as %s", id, is.Service, service)
		}
		out1, out2 := ejections(was.State), ejections(is.State)
		for _, of := range slices.Sorted(maps.Keys(out2)) {
			if _, already := out1[of]; !already {
				tell(of, control.EventEjected, "%s", strings.TrimSuffix(of+" gets no calls from "+id+" for now: "+out2[of], ": "))
			}
		}
		for _, of := range slices.Sorted(maps.Keys(out1)) {
			if _, still := out2[of]; !still && knows(is.State, of) {
				tell(of, control.EventReadmitted, "%s gets calls from %s again", of, id)
			}
		}
		for _, g := range is.Groups {
			old := groupOf(was.State, g.Name)
			switch {
			case g.Role == roleLeader && (old.Role != roleLeader || old.Term != g.Term):
				tell(id, control.EventElected, "%s leads the group %s (term %d)", id, g.Name, g.Term)
			case g.Role != roleLeader && old.Role == roleLeader:
				tell(id, control.EventDeposed, "%s leads the group %s no more (term %d)", id, g.Name, g.Term)
			}
		}
		for _, l := range is.Leads {
			if !holds(was.Leads, l) {
				tell(id, control.EventElected, "%s has won the election %s (token %d)", id, l.Name, l.Token)
			}
		}
		for _, l := range was.Leads {
			if !slices.ContainsFunc(is.Leads, func(h fault.HoldState) bool { return h.Name == l.Name }) {
				tell(id, control.EventDeposed, "%s leads by the election %s no more", id, l.Name)
			}
		}
		if is.Draining && !was.Draining && !stopping[id] {
			tell(id, control.EventDraining, "%s announces that it stops", id)
		}
	}
	if more := len(out) - maxNews; more > 0 {
		out = append(out[:maxNews], control.Event{Time: now, Message: fmt.Sprintf("and %s of this kind at the same time", count(more, "event"))})
	}
	return out
}

func groupOf(s fault.State, name string) fault.GroupState {
	for _, g := range s.Groups {
		if g.Name == name {
			return g
		}
	}
	return fault.GroupState{}
}

func holds(held []fault.HoldState, l fault.HoldState) bool {
	return slices.ContainsFunc(held, func(h fault.HoldState) bool { return h.Name == l.Name && h.Token == l.Token })
}

// knows says whether an instance is still among those that a process calls.
func knows(s fault.State, id string) bool {
	for _, b := range s.Balancers {
		if slices.ContainsFunc(b.Instances, func(i fault.InstanceState) bool { return i.ID == id }) {
			return true
		}
	}
	return false
}

// tellNews publishes what processes say of themselves and of each other, until ctx ends.
func (h *Host) tellNews(ctx context.Context) error {
	var before said
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.agent.StateChanged():
		case <-h.moved:
		}
		after := h.said()
		stopping := make(map[string]bool)
		for _, s := range h.sup.States() {
			stopping[s.ID] = s.State == supervise.Draining || s.State == supervise.Stopped
		}
		for _, e := range news(before, after, h.serviceOf(), stopping, time.Now()) {
			h.feed.publish(e)
		}
		before = after
	}
}

// serviceOf is the service of each instance.
func (h *Host) serviceOf() map[string]string {
	out := make(map[string]string)
	for _, s := range h.sup.States() {
		out[s.ID] = s.Service
	}
	return out
}
