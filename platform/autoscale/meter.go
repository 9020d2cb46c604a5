package autoscale

import (
	"cmp"
	"os"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	// span is over how long processor time is measured: one moment says little.
	span = 2 * time.Second
	// leastSpan is over how long at least, for one that was just started.
	leastSpan = time.Second
	// fullShare is the share of all processors in use from which on there is nothing left.
	fullShare = 0.95
)

// kernel is what the kernel says of processes.
type kernel struct {
	// time is what one process has used so far, groups what all that are there have, by process group and process; ok is false and the
	// map is empty where that cannot be known.
	time   func(pid int) (used time.Duration, ok bool)
	groups func() map[int]map[int]time.Duration
	group  func(pid int) (group int, ok bool) // of a process
}

// machine is the kernel of this machine.
func machine() *kernel { return &kernel{time: processorTime, groups: groupTimes, group: processGroup} }

// meter measures who uses how much of the processors. Its methods are for one goroutine.
type meter struct {
	kernel     *kernel
	processors float64
	uses       map[string]*use
}

// use is the processor time of one process of late, or of one process group.
type use struct {
	pid    int
	points []point // oldest first; the first one is not older than span, if there are others

	// What each process of the group had used when it was last looked at, and what all of them have since the first look, those
	// included that have ended: a group whose processes come and go would not have a sum that grows.
	seen map[int]time.Duration
	sum  time.Duration
}

type point struct {
	at   time.Time
	used time.Duration
}

// edge is the name of the platform's own process in a meter. No instance has it.
const edge = ""

func newMeter(k *kernel, processors float64) *meter {
	return &meter{kernel: k, processors: processors, uses: make(map[string]*use)}
}

// read returns how many processors each instance uses, where that is known, and whether all of them are in use. An instance is the
// process group that its process leads: what a command line starts is often not what does the work.
func (m *meter) read(now time.Time, instances []control.Instance, said control.Stats) (each map[string]float64, full bool) {
	each = make(map[string]float64)
	total := 0.0
	there := map[string]bool{edge: true}
	add := func(id string, pid int, group map[int]time.Duration, said control.InstanceStats) {
		if rate, ok := m.rate(now, id, pid, group, said); ok {
			each[id] = rate
			total += rate
		}
	}
	pid, own := cmp.Or(said.Edge.PID, os.Getpid()), make(map[int]time.Duration)
	if used, ok := m.kernel.time(pid); ok {
		own[pid] = used
	}
	add(edge, pid, own, said.Edge)
	var groups map[int]map[int]time.Duration // of all in one go: there are many more processes than instances
	if len(instances) > 0 {
		groups = m.kernel.groups()
	}
	for _, i := range instances {
		there[i.ID] = true
		if i.PID != 0 {
			add(i.ID, i.PID, groups[i.PID], said.Instances[i.ID])
		}
	}
	for id := range m.uses {
		if !there[id] {
			delete(m.uses, id)
		}
	}
	return each, total >= fullShare*m.processors
}

// rate is how many processors a process uses, or a group of them: by what the kernel knows of each of the group, or else by what it says.
func (m *meter) rate(now time.Time, id string, pid int, group map[int]time.Duration, said control.InstanceStats) (processors float64, ok bool) {
	p, u := point{at: now}, m.uses[id]
	if len(group) > 0 {
		if u == nil || u.pid != pid || u.seen == nil {
			u = &use{pid: pid, seen: group}
		}
		u.count(now, group, m.processors)
		p.used = u.sum
	} else {
		if !m.kernel.says(pid, said, now) {
			return 0, false
		}
		p, pid = point{said.At, said.CPU}, cmp.Or(said.PID, pid)
		if u == nil || u.pid != pid || u.seen != nil || p.used < u.points[len(u.points)-1].used {
			u = &use{pid: pid}
		}
	}
	m.uses[id] = u
	if len(u.points) == 0 || p.at.After(u.points[len(u.points)-1].at) {
		u.points = append(u.points, p)
	}
	for len(u.points) > 1 && p.at.Sub(u.points[1].at) >= span {
		u.points = u.points[1:]
	}
	took := p.at.Sub(u.points[0].at)
	if took < leastSpan {
		return 0, false
	}
	return (p.used - u.points[0].used).Seconds() / took.Seconds(), true
}

// count adds what the processes of the group have used since they were last looked at. What those used last that have ended since is not
// known.
func (u *use) count(now time.Time, group map[int]time.Duration, processors float64) {
	var used time.Duration
	for pid, so := range group {
		was, known := u.seen[pid]
		if !known || so >= was { // otherwise the number is another process's now
			used += so - was
		}
	}
	if n := len(u.points); n > 0 { // one that could not be looked at, and is back, comes with its whole life
		used = min(used, time.Duration(float64(now.Sub(u.points[n-1].at))*processors))
	}
	u.sum += used
	u.seen = group
}
