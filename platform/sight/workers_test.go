package sight_test

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/platform/sight"
)

// Workers that are forked inherit the name of their instance; each counts for itself, and the instance has what they have together.
func TestWorkersOfOneInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sight.New(sight.Config{})
		pass(time.Second)
		one := newProcess("greeter-1")
		pass(time.Second)
		two := newProcess("greeter-1")
		for i := range 60 {
			if i == 30 {
				two = newProcess("greeter-1") // it was restarted
			}
			for _, p := range []*process{one, two} {
				p.took("http.server.request.duration", 5, .005, nil)
				p.export(t, s)
			}
			pass(time.Second)
		}
		if g := s.Graph(); len(g.Nodes) != 1 || math.Abs(g.Nodes[0].Rate-10) > 2.5 {
			t.Errorf("10 a second, in two workers: %+v", g.Nodes)
		}
	})
}

// Who exports every ten seconds is not gone in between.
func TestAnInstanceThatExportsSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sight.New(sight.Config{})
		pass(time.Second)
		p := newProcess("greeter-1")
		export := func() {
			p.took("rpc.server.call.duration", 100, .005, nil)
			p.export(t, s)
		}
		export()
		pass(10 * time.Second)
		for range 3 {
			export()
			for range 10 {
				if g := s.Graph(); len(g.Nodes) != 1 || math.Abs(g.Nodes[0].Rate-10) > 2.5 {
					t.Fatalf("100 every ten seconds: %+v", g.Nodes)
				}
				pass(time.Second)
			}
		}
		pass(11 * time.Second)
		if g := s.Graph(); len(g.Nodes) > 0 && g.Nodes[0].Rate > 0 {
			t.Errorf("it is gone: %+v", g.Nodes)
		}
	})
}
