package autoscale

import (
	"maps"
	"math"
	"os"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/scale"
)

// TestAnInstanceIsItsProcessGroup: all groups are looked at in one go, and the platform's own time is its own alone. Processes of a group
// come and go.
func TestAnInstanceIsItsProcessGroup(t *testing.T) {
	k, looks, own := unknowing(), 0, time.Duration(0)
	times := map[int]map[int]time.Duration{7: {7: time.Hour, 70: time.Minute}, 8: {8: 0}, os.Getpid(): {os.Getpid(): time.Hour}}
	k.groups = func() map[int]map[int]time.Duration {
		looks++
		seen := make(map[int]map[int]time.Duration)
		for group, of := range times {
			seen[group] = maps.Clone(of)
		}
		return seen
	}
	k.time = func(pid int) (time.Duration, bool) { return own, pid == os.Getpid() }
	m, now := newMeter(k, 2), time.Now()
	instances := []control.Instance{instance("web-1", 7), instance("web-2", 8), instance("web-3", 9)}
	read := func() (each map[string]float64, full bool) {
		now = now.Add(time.Second)
		return m.read(now, instances, control.Stats{})
	}
	read()
	times[7][7] += 600 * time.Millisecond
	times[7][70] += 300 * time.Millisecond
	times[8][8] += 500 * time.Millisecond
	own += 550 * time.Millisecond
	each, full := read()
	if _, ok := each["web-3"]; ok || each["web-1"] != 0.9 || each["web-2"] != 0.5 || each[edge] != 0.55 || !full {
		t.Errorf("%v, %t", each, full)
	}
	if looks != 2 {
		t.Errorf("looked %d times, want once each time", looks)
	}
	steps := []func(){
		func() { // one has ended, and another one was started since
			delete(times[7], 70)
			times[7][71] = 300 * time.Millisecond
		},
		func() { // its number is that of another one now
			times[7][7] += 100 * time.Millisecond
			times[7][71] = 100 * time.Millisecond
		},
	}
	for i, want := range []float64{0.6, 0.2} { // over two seconds
		steps[i]()
		if each, full = read(); math.Abs(each["web-1"]-want) > 1e-9 || full {
			t.Errorf("%d: %v, %t", i, each, full)
		}
	}
	all := times[7]
	times[7] = map[int]time.Duration{7: all[7]}
	read()
	times[7] = all
	all[72] = time.Hour // which was there all the time and could not be looked at
	if each, _ = read(); each["web-1"] > 2 {
		t.Errorf("%v of two processors", each)
	}
}

// TestWhatAWrapperHasStartedSpeaksForIt: what says how it is is not the process that was started, but one of its group.
func TestWhatAWrapperHasStartedSpeaksForIt(t *testing.T) {
	p := policy
	p.Targets = append(p.Targets, scale.Target{Metric: scale.CPU, Value: 0.5})
	svc, k := &service{name: "web", policy: p}, unknowing()
	k.group = func(pid int) (int, bool) { return map[int]int{7: 7, 70: 7, 80: 8}[pid], pid < 90 }
	m, begun := newMeter(k, 2), time.Now()
	look := func(pid int, at time.Duration) scale.Sample {
		v := view{now: begun.Add(at), instances: []control.Instance{instance("web-1", 7)}, kernel: k}
		v.stats = map[string]control.InstanceStats{"web-1": {At: v.now, PID: pid, InFlight: 10, CPU: at / 2}}
		v.cpu, _ = m.read(v.now, v.instances, control.Stats{Instances: v.stats})
		x, _ := sample(svc, 1, v, make([]poll, 2))
		return x
	}
	for _, pid := range []int{7, 70} {
		look(pid, 0)
		if x := look(pid, time.Second); x.Readings[0].Sum != 10 || x.Readings[1].Sum != 0.5 {
			t.Errorf("what %d says is not believed: %+v", pid, x)
		}
	}
	for _, pid := range []int{80, 90} {
		look(pid, 0)
		if x := look(pid, time.Second); x.Readings[0].Of != 0 || x.Readings[1].Of != 0 {
			t.Errorf("what %d says is believed: %+v", pid, x)
		}
	}
	if _, ok := processGroup(os.Getpid()); !ok {
		t.Error("not known of this process")
	}
	if _, ok := processGroup(0); ok {
		t.Error("known of no process")
	}
}
