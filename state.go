package holdfast

import (
	"bytes"
	"cmp"
	"os"
	"runtime/metrics"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/replica"
)

// condition is what the platform is told of the process, and /state says, of now. What changes all the time is rounded, so that
// a process which has nothing to do has nothing to say.
func (s *Service) condition() fault.State {
	st := fault.State{Draining: s.draining.Load(), RSS: roundUp(residentMemory(), 1<<20)}
	if a := s.admin.Load(); a != nil {
		st.Admin = a.addr
	}
	samples := []metrics.Sample{{Name: "/sched/goroutines:goroutines"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/goal:bytes"}}
	metrics.Read(samples)
	number := func(i int, unit int64) int64 {
		if samples[i].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return roundUp(int64(samples[i].Value.Uint64()), unit) //nolint:gosec // far from it
	}
	st.Goroutines = int(number(0, 10))
	st.GC = fault.GCState{Heap: number(1, 1<<20), Goal: number(2, 1<<20)}

	for _, g := range s.groups() {
		st.Groups = append(st.Groups, groupState(g))
	}
	elections := s.locks.elections()
	for _, h := range s.holds() {
		hold := fault.HoldState{Name: h.Name, Token: h.Token, Since: h.Since}
		if elections[h.Name] {
			st.Leads = append(st.Leads, hold)
		} else {
			st.Locks = append(st.Locks, hold)
		}
	}
	for _, k := range s.known() {
		b := fault.BalancerState{Service: k.service, Protocol: k.protocol, Instances: make([]fault.InstanceState, len(k.instances))}
		for i, in := range k.instances {
			b.Instances[i] = fault.InstanceState{ID: in.ID, Addr: in.Addr, State: in.State, Why: short(in.Why), Until: in.Until, InFlight: in.InFlight}
		}
		st.Balancers = append(st.Balancers, b)
	}
	slices.SortFunc(st.Groups, func(a, b fault.GroupState) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(st.Balancers, func(a, b fault.BalancerState) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Protocol, b.Protocol))
	})
	st.Subscriptions = s.seen.all()
	return st
}

// short bounds what is said in words.
func short(text string) string {
	const most = 300
	if len(text) <= most {
		return text
	}
	return string(bytes.ToValidUTF8([]byte(text[:most]), nil)) + "…"
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// residentMemory is what the process has in memory, 0 where the kernel does not say it in Linux's way.
func residentMemory() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

func groupState(g replica.Status) fault.GroupState {
	st := fault.GroupState{Name: g.Group, Leader: g.Leader, Term: g.Term, Role: string(g.Role), Applied: g.Applied}
	switch g.Role {
	case replica.Leading:
		st.Role = "leader"
	case replica.Following:
		st.Role = "follower"
	case replica.Learning:
		st.Role = "learner"
	case replica.Failed:
		st.Error = short(g.Why)
	case replica.Starting, replica.Founding, replica.Joining, replica.Stopped:
	}
	for _, m := range g.Members {
		member := fault.MemberState{Name: m.Name, Voter: !m.Learner}
		switch {
		case m.Name == g.Name:
			member.Applied = g.Applied
		case g.Role == replica.Leading:
			member.Applied, member.Away = m.Match, !m.Up
		}
		st.Members = append(st.Members, member)
	}
	return st
}

// maxSeen bounds the subscriptions that are told of.
const maxSeen = 500

// messagesSeen is how the subscriptions are, by what an Observer is told of them.
type messagesSeen struct {
	moved func()

	mu   sync.Mutex
	list map[[2]string]*fault.SubscriptionState // by topic and group
	when map[[2]string]time.Time                // Oldest was seen
}

// Observe implements queue.Observer.
func (m *messagesSeen) Observe(e queue.Event) {
	switch e.Kind {
	case queue.Received:
		m.of(e, func(s *fault.SubscriptionState) {
			// What is received at once is not worth a change of the state.
			s.Oldest = e.Age.Round(time.Second)
			m.when[[2]string{e.Topic, e.Group}] = time.Now()
		})
	case queue.Behind:
		m.of(e, func(s *fault.SubscriptionState) {
			s.Lag, s.Dead = e.Lag.Waiting+e.Lag.Unsettled, e.Lag.Dead
			if time.Since(m.when[[2]string{e.Topic, e.Group}]) > time.Minute {
				s.Oldest = 0 // nothing has come since
			}
		})
	case queue.Slowed, queue.Resumed:
		m.of(e, func(s *fault.SubscriptionState) { s.Slowed = e.Kind == queue.Slowed })
		m.moved()
	case queue.Buried:
		m.of(e, func(s *fault.SubscriptionState) { s.Dead += int64(e.Count) })
		m.moved()
	case queue.Published, queue.Handled, queue.Retried, queue.Returned, queue.Lost:
	}
}

func (m *messagesSeen) of(e queue.Event, f func(*fault.SubscriptionState)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := [2]string{e.Topic, e.Group}
	s := m.list[key]
	if s == nil {
		if len(m.list) >= maxSeen {
			return
		}
		if m.list == nil {
			m.list, m.when = make(map[[2]string]*fault.SubscriptionState), make(map[[2]string]time.Time)
		}
		s = &fault.SubscriptionState{Topic: e.Topic, Group: e.Group}
		m.list[key] = s
	}
	f(s)
}

// all returns them by topic and group.
func (m *messagesSeen) all() []fault.SubscriptionState {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]fault.SubscriptionState, 0, len(m.list))
	for _, s := range m.list {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b fault.SubscriptionState) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Group, b.Group))
	})
	return out
}
