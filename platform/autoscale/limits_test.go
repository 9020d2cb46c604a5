package autoscale

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/scale"
)

var limiter = scale.Policy{Min: 2, Max: 8, Targets: []scale.Target{{Metric: scale.Limiter, Value: 0.7}}}

// TestALimitThatIsDroppedIsRemembered: that nothing is overloaded any more, since there are more instances, is no reason to take these
// away again.
func TestALimitThatIsDroppedIsRemembered(t *testing.T) {
	run(t, limiter, func(_ *Scaler, f *fake) {
		f.change(func(f *fake) { f.load, f.finds = 50, 20 })
		pass(10 * time.Minute)
		f.wantSteps(t, "2 → 4: 125 % of the limit in use, target 70 %")
		f.change(func(f *fake) { f.load = 25 })
		pass(2 * time.Minute)
		f.wantSteps(t, "2 → 4: 125 % of the limit in use, target 70 %", "4 → 2: 30 % of the limit in use, target 70 %")
		f.wantTold(t)
	})
}

// TestNothingWasEverOverloaded: as long as no limit was found, the most that there may be is what there is to go by.
func TestNothingWasEverOverloaded(t *testing.T) {
	run(t, limiter, func(_ *Scaler, f *fake) {
		f.change(func(f *fake) { f.load, f.finds = 50, 1000 })
		pass(10 * time.Minute)
		f.wantSteps(t)
		f.wantTold(t)
	})
}

// shares looks at a service and returns how much of its limit each instance has in use.
func (l *limits) shares(said map[string]control.InstanceStats, states map[string]string) map[string]float64 {
	v := view{now: time.Now(), kernel: unknowing(), stats: map[string]control.InstanceStats{}}
	for id, state := range states {
		v.instances = append(v.instances, control.Instance{Service: "web", ID: id, PID: 7, State: state})
		if s, ok := said[id]; ok {
			s.At = v.now
			v.stats[id] = s
		}
	}
	l.learn("web", v)
	shares := make(map[string]float64)
	for id := range said {
		if share, ok := l.share(id, v.stats[id]); ok {
			shares[id] = share
		}
	}
	return shares
}

// TestTheServerWithTheHighestShareCounts: one with room does not make up for one that is overloaded, whatever it could do.
func TestTheServerWithTheHighestShareCounts(t *testing.T) {
	var l limits
	got := l.shares(map[string]control.InstanceStats{
		"web-1": {InFlight: 20, Waiting: 10, Limit: 10_020, Servers: []control.ServerStats{
			{Protocol: "grpc", Limit: 10_000},
			{Protocol: "http", InFlight: 20, Waiting: 10, Limit: 20, Found: 20},
		}},
		"web-2": {InFlight: 15, Limit: 20_000, Servers: []control.ServerStats{
			{Protocol: "grpc", InFlight: 5, Limit: 10_000},
			{Protocol: "http", InFlight: 10, Limit: 10_000},
		}},
		"web-3": {InFlight: 5, Limit: 100}, // which does not tell
		"web-4": {InFlight: 5},
	}, map[string]string{"web-1": ready, "web-2": ready, "web-3": ready, "web-4": ready})
	if want := (map[string]float64{"web-1": 1.5, "web-2": 0.5, "web-3": 0.05}); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestWhoseLimitIsRemembered: an instance's own, or else the highest that was found at any: one that can do less than the others, since
// it is slow, does not speak for them.
func TestWhoseLimitIsRemembered(t *testing.T) {
	var l limits
	http := func(inFlight, limit, found int) control.InstanceStats {
		return control.InstanceStats{Servers: []control.ServerStats{{Protocol: "http", InFlight: inFlight, Limit: limit, Found: found}}}
	}
	type stats = map[string]control.InstanceStats
	all := map[string]string{"web-1": ready, "web-2": ready, "web-3": ready}
	last := http(5, 10_000, 0)
	for _, c := range []struct {
		name   string
		said   stats
		states map[string]string
		want   map[string]float64
	}{
		{
			"two are overloaded, and one of them is slow",
			stats{"web-1": http(20, 20, 20), "web-2": http(10, 8, 10), "web-3": last}, // it is being probed with 8
			all,
			map[string]float64{"web-1": 1, "web-2": 1, "web-3": 0.25},
		},
		{
			"none is any more",
			stats{"web-1": http(10, 10_000, 0), "web-2": http(5, 10_000, 0), "web-3": last},
			all,
			map[string]float64{"web-1": 0.5, "web-2": 0.5, "web-3": 0.25},
		},
		{
			"fewer may be handled than can be",
			stats{"web-1": http(10, 10, 0), "web-2": http(5, 10_000, 0), "web-3": last},
			all,
			map[string]float64{"web-1": 1, "web-2": 0.5, "web-3": 0.25},
		},
		{
			"two say nothing",
			stats{"web-3": last},
			all,
			map[string]float64{"web-3": 0.25},
		},
		{
			"one is back, and the fast one is gone",
			stats{"web-2": http(5, 10_000, 0), "web-3": last},
			map[string]string{"web-2": starting, "web-3": ready},
			map[string]float64{"web-2": 0.5, "web-3": 0.5},
		},
	} {
		if got := l.shares(c.said, c.states); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestALimitThatIsHandledIsNone: one that was found while the database was slow, say. Who waits shows that it still is one.
func TestALimitThatIsHandledIsNone(t *testing.T) {
	http := func(inFlight, waiting, found int) map[string]control.InstanceStats {
		return map[string]control.InstanceStats{"web-1": {Servers: []control.ServerStats{
			{Protocol: "http", InFlight: inFlight, Waiting: waiting, Limit: 10_000, Found: found},
		}}}
	}
	for name, l := range map[string]limits{
		"its own":                  {own: map[server]int{{"web-1", "http"}: 4}, most: map[string]int{"http": 4}},
		"of one that is not there": {most: map[string]int{"http": 4}},
	} {
		for i, c := range []struct {
			inFlight, waiting, found int
			want                     float64
		}{
			{4, 4, 0, 2}, {8, 0, 0, 1}, {4, 0, 0, 0.5}, {6, 0, 4, 1.5}, {4, 0, 0, 1},
		} {
			if got := l.shares(http(c.inFlight, c.waiting, c.found), map[string]string{"web-1": ready}); got["web-1"] != c.want {
				t.Errorf("%s, %d: %v, want %v", name, i, got, c.want)
			}
		}
	}
}

// TestALimitOutlivesThoseWhoHadIt: those that are there now never found one.
func TestALimitOutlivesThoseWhoHadIt(t *testing.T) {
	l := limits{own: map[server]int{{"web-2", "http"}: 20}, most: map[string]int{"http": 20}}
	idle := control.InstanceStats{Servers: []control.ServerStats{{Protocol: "http", InFlight: 5, Limit: 10_000}}}
	for range 2 {
		if got := l.shares(map[string]control.InstanceStats{"web-1": idle}, map[string]string{"web-1": ready}); got["web-1"] != 0.25 {
			t.Errorf("%v", got)
		}
	}
}

// TestWhatAProcessSaysOfItsServersIsBounded: whatever it makes up.
func TestWhatAProcessSaysOfItsServersIsBounded(t *testing.T) {
	var l limits
	for n := range 100 {
		var s control.InstanceStats
		for k := range 100 {
			s.Servers = append(s.Servers, control.ServerStats{Protocol: fmt.Sprint(n, k), Limit: 1, Found: -1 + k})
		}
		l.shares(map[string]control.InstanceStats{"web-1": s}, map[string]string{"web-1": ready})
	}
	if len(l.own) > maxServers || len(l.most) > maxServers {
		t.Errorf("%d and %d are kept", len(l.own), len(l.most))
	}
}
