package balance

import (
	"slices"
	"testing"
	"time"
)

func TestInstancesSayWhatIsKnownOfEach(t *testing.T) {
	b := New(Config{})
	at := time.Unix(1000, 0)
	members := []Member{{ID: "c"}, {ID: "a"}, {ID: "b"}}
	nodes := b.Update(at, members)
	want := func(what string, want ...string) {
		t.Helper()
		var got []string
		for _, i := range b.Instances(at) {
			got = append(got, i.ID+" "+i.State+" "+i.Why)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	want("before there is a view", "a unreachable ", "b unreachable ", "c unreachable ")
	b.View(at, nodes)
	want("then", "a ready ", "b ready ", "c ready ")
	end := func(n *Node, h Health, times int) {
		for range times {
			n.Start()
			b.Done(n, at, at, None, h)
		}
	}
	end(nodes[0], Good, 20)
	end(nodes[2], Good, 20)
	end(nodes[1], Bad, DefaultConsecutive)
	want("ejected", "a ejected 5 failures in a row", "b ready ", "c ready ")
	if i := b.Instances(at)[0]; !i.Until.After(at) || i.Until.After(at.Add(2*DefaultProbe)) {
		t.Errorf("until %v", i.Until)
	}
	at = at.Add(time.Second)
	end(nodes[1], Good, 1)
	want("tried", "a probing 5 failures in a row", "b ready ", "c ready ")
	end(nodes[1], Good, 2)
	want("back", "a slow-start back after an ejection: 5 failures in a row", "b ready ", "c ready ")
	at = at.Add(DefaultSlowStart)
	want("after a while", "a ready ", "b ready ", "c ready ")
	b.View(at, nodes[:1])
	nodes[0].Start()
	want("cut off", "a unreachable ", "b unreachable ", "c ready ")
	if i := b.Instances(at)[2]; i.InFlight != 1 {
		t.Errorf("%d in flight", i.InFlight)
	}
	at = at.Add(time.Minute)
	b.View(at, nodes)
	b.Update(at, append(members, Member{ID: "d"}))
	nodes = append(nodes, b.nodes["d"])
	b.View(at, nodes)
	if i := b.Instances(at)[3]; i.State != StateSlowStart || i.Why != "new" || !i.Until.Equal(at.Add(DefaultSlowStart)) {
		t.Errorf("a newcomer is %+v", i)
	}
}
