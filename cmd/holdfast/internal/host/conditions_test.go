//go:build unix

package host

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/platform/agent"
	"github.com/holdfast-go/holdfast/platform/control"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func says(pid int, s fault.State) agent.StateSaid {
	return agent.StateSaid{State: s, PID: pid, At: now}
}

func calls(states map[string]string) []fault.BalancerState {
	b := fault.BalancerState{Service: "orders", Protocol: "grpc"}
	for id, state := range states {
		i := fault.InstanceState{ID: id, State: state}
		if state == fault.InstanceEjected {
			i.Why = "5 failures in a row"
		}
		b.Instances = append(b.Instances, i)
	}
	return []fault.BalancerState{b}
}

func TestConditions(t *testing.T) {
	got := said{
		"gateway-1":     says(1, fault.State{Balancers: calls(map[string]string{"orders-1": fault.InstanceEjected, "orders-2": fault.InstanceReady})}),
		control.EdgeEnd: {State: fault.State{Balancers: calls(map[string]string{"orders-2": fault.InstanceReady, "gateway-2": fault.InstanceEjected})}},
		"gateway-2":     says(2, fault.State{Balancers: calls(map[string]string{"orders-1": fault.InstanceProbing, "gone-1": fault.InstanceEjected})}),
		"orders-1": says(3, fault.State{
			RSS: 7 << 20, Admin: "127.0.0.1:1", Draining: true,
			Groups: []fault.GroupState{{Name: "book", Role: "leader"}, {Name: "other", Role: "follower"}},
			Leads:  []fault.HoldState{{Name: "report"}},
		}),
	}.conditions()
	c := got["orders-1"]
	if c.Role != "leader of book, report" || !c.Draining || c.RSS != 7<<20 || c.Admin != "127.0.0.1:1" {
		t.Errorf("orders-1 is %+v", c)
	}
	if want := []string{"by gateway-1: 5 failures in a row", "by gateway-2"}; !slices.Equal(c.Ejected, want) {
		t.Errorf("orders-1 is ejected %q, want %q", c.Ejected, want)
	}
	if got["orders-2"].Ejected != nil || len(got["gone-1"].Ejected) != 1 {
		t.Errorf("%+v", got)
	}
	if want := []string{"by edge: 5 failures in a row"}; !slices.Equal(got["gateway-2"].Ejected, want) {
		t.Errorf("gateway-2 is ejected %q, want %q", got["gateway-2"].Ejected, want)
	}
	if r := role([]string{"d", "c", "b", "a", "a", "e"}); r != "leader of a, b, c and 2 more" {
		t.Errorf("many are %q", r)
	}
}

func TestGroups(t *testing.T) {
	members := []fault.MemberState{{Name: "stock-1", Voter: true}, {Name: "stock-2", Voter: true, Applied: 9}, {Name: "stock-3", Voter: true, Applied: 4}}
	service := map[string]string{"stock-1": "stock", "stock-2": "stock"}
	groups := said{
		// It was the leader and has not noticed that it is no more.
		"stock-1": says(1, fault.State{Groups: []fault.GroupState{{Name: "stock", Leader: "stock-1", Term: 2, Role: "leader", Applied: 8, Members: members}}}),
		"stock-2": says(2, fault.State{Groups: []fault.GroupState{{Name: "stock", Leader: "stock-2", Term: 3, Role: "leader", Applied: 9, Members: members}}}),
	}.groups(service)
	if len(groups) != 1 {
		t.Fatalf("%+v", groups)
	}
	g := groups[0]
	want := []control.GroupMember{{Instance: "stock-1", Role: "follower", Applied: 8}, {Instance: "stock-2", Role: "leader", Applied: 9}, {Instance: "stock-3", Role: "away", Applied: 4}}
	if g.Leader != "stock-2" || g.Term != 3 || !slices.Equal(g.Members, want) || g.Trouble != "1 of 3 members do not answer" {
		t.Errorf("%+v", g)
	}
	groups = said{"stock-1": says(1, fault.State{Groups: []fault.GroupState{{Name: "stock", Term: 4, Role: "follower"}}})}.groups(service)
	if groups[0].Leader != "" || groups[0].Trouble != "no leader is known" {
		t.Errorf("%+v", groups[0])
	}
}

// TestAStandInIsNotMissed: it is a member for some minutes after it was stopped for good, without a vote.
func TestAStandInIsNotMissed(t *testing.T) {
	for name, c := range map[string]struct {
		voter, there bool
		want         string
	}{
		"gone":                  {false, false, ""},
		"gone, and has a vote":  {true, false, "1 of 2 members do not answer"},
		"there, and is silent":  {false, true, "1 of 2 members do not answer"},
		"a voter that is there": {true, true, "1 of 2 members do not answer"},
	} {
		service := map[string]string{"stock-1": "stock"}
		if c.there {
			service["stock-4"] = "stock"
		}
		groups := said{"stock-1": says(1, fault.State{Groups: []fault.GroupState{{
			Name: "stock", Leader: "stock-1", Term: 2, Role: "leader", Members: []fault.MemberState{{Name: "stock-1", Voter: true}, {Name: "stock-4", Voter: c.voter}},
		}}})}.groups(service)
		if len(groups) != 1 || len(groups[0].Members) != 2 || groups[0].Trouble != c.want {
			t.Errorf("%s: %+v", name, groups)
		}
	}
}

func TestLocks(t *testing.T) {
	locks := said{
		"b-1": says(1, fault.State{Locks: []fault.HoldState{{Name: "report", Token: 3, Since: now}}}),
		"a-1": says(2, fault.State{Locks: []fault.HoldState{{Name: "report", Token: 2}}, Leads: []fault.HoldState{{Name: "clean", Token: 9}}}),
	}.locks()
	want := []control.Lock{
		{Name: "clean", Holder: "a-1", Token: 9, Election: true},
		{Name: "report", Holder: "b-1", Token: 3, Since: now},
		{Name: "report", Holder: "a-1", Token: 2},
	}
	if !slices.Equal(locks, want) {
		t.Errorf("%+v", locks)
	}
}

func TestNews(t *testing.T) {
	service := map[string]string{"orders-1": "orders", "orders-2": "orders"}
	leads := func(role string, term uint64) fault.State {
		return fault.State{Groups: []fault.GroupState{{Name: "book", Role: role, Term: term}}}
	}
	won := fault.State{Leads: []fault.HoldState{{Name: "report", Token: 3}}}
	gateway := func(state string) said {
		return said{"gateway-1": says(1, fault.State{Balancers: calls(map[string]string{"orders-1": state})})}
	}
	called := func(service string, pid int) said {
		return said{"orders-1": {PID: pid, Service: service}}
	}
	for _, tc := range []struct {
		name          string
		before, after said
		want          []string
	}{
		{"ejected", gateway(fault.InstanceReady), gateway(fault.InstanceEjected), []string{"ejected orders-1: orders-1 gets no calls from gateway-1 for now: 5 failures in a row"}},
		{"still ejected", gateway(fault.InstanceEjected), gateway(fault.InstanceProbing), nil},
		{"readmitted", gateway(fault.InstanceProbing), gateway(fault.InstanceSlowStart), []string{"readmitted orders-1: orders-1 gets calls from gateway-1 again"}},
		{"gone while it was ejected", gateway(fault.InstanceEjected), said{"gateway-1": says(1, fault.State{})}, nil},
		{"who ejected it is gone", gateway(fault.InstanceEjected), said{}, nil},
		{"a new process ejects it again", gateway(fault.InstanceEjected), said{"gateway-1": says(2, gateway(fault.InstanceEjected)["gateway-1"].State)}, []string{"ejected orders-1: orders-1 gets no calls from gateway-1 for now: 5 failures in a row"}},
		{"elected", said{"orders-1": says(1, leads("follower", 1))}, said{"orders-1": says(1, leads("leader", 2))}, []string{"elected orders-1: orders-1 leads the group book (term 2)"}},
		{"leads as before", said{"orders-1": says(1, leads("leader", 2))}, said{"orders-1": says(1, leads("leader", 2))}, nil},
		{"deposed", said{"orders-1": says(1, leads("leader", 2))}, said{"orders-1": says(1, leads("follower", 3))}, []string{"deposed orders-1: orders-1 leads the group book no more (term 3)"}},
		{"won", said{}, said{"orders-1": says(1, won)}, []string{"elected orders-1: orders-1 has won the election report (token 3)"}},
		{"lost", said{"orders-1": says(1, won)}, said{"orders-1": says(1, fault.State{})}, []string{"deposed orders-1: orders-1 leads by the election report no more"}},
		{"draining", said{"orders-1": says(1, fault.State{})}, said{"orders-1": says(1, fault.State{Draining: true})}, []string{"draining orders-1: orders-1 announces that it stops"}},
		{"another name", said{}, called("greet", 1), []string{` orders-1: orders-1 registers as "greet": nobody finds it as orders`}},
		{"another name as before", called("greet", 1), called("greet", 1), nil},
		{"a new process of another name", called("greet", 1), called("greet", 2), []string{` orders-1: orders-1 registers as "greet": nobody finds it as orders`}},
		{"its own name", said{}, called("orders", 1), nil},
		{"draining because it is stopped", said{}, said{"orders-2": says(1, fault.State{Draining: true})}, nil},
	} {
		var got []string
		for _, e := range news(tc.before, tc.after, service, map[string]bool{"orders-2": true}, now) {
			got = append(got, e.State+" "+e.Instance+": "+e.Message)
			if e.Service != "orders" || !e.Time.Equal(now) {
				t.Errorf("%s: %+v", tc.name, e)
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// A hundred instances that all give up another hundred are no ten thousand events.
func TestNewsAreBounded(t *testing.T) {
	states := make(map[string]string)
	for i := range 100 {
		states["orders-"+strings.Repeat("x", i+1)] = fault.InstanceEjected
	}
	after := make(said)
	for i := range 100 {
		after["gateway-"+strings.Repeat("x", i+1)] = says(1, fault.State{Balancers: calls(states)})
	}
	got := news(nil, after, nil, nil, now)
	if len(got) != maxNews+1 || got[maxNews].Message != "and 9960 events of this kind at the same time" {
		t.Errorf("%d events, the last %+v", len(got), got[len(got)-1])
	}
}
