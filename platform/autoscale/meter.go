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

// meter measures who uses how much of the processors. Its methods are for one goroutine.
type meter struct {
	processorTime func(pid int) (time.Duration, bool)
	processors    float64
	uses          map[string]*use
}

// use is the processor time of one process of late.
type use struct {
	pid    int
	points []point // oldest first; the first one is not older than span, if there are others
}

type point struct {
	at   time.Time
	used time.Duration
}

// edge is the name of the platform's own process in a meter. No instance has it.
const edge = ""

func newMeter(processorTime func(int) (time.Duration, bool), processors float64) *meter {
	return &meter{processorTime: processorTime, processors: processors, uses: make(map[string]*use)}
}

// read returns how many processors each instance uses, where that is known, and whether all of them are in use.
func (m *meter) read(now time.Time, instances []control.Instance, said control.Stats) (each map[string]float64, full bool) {
	each = make(map[string]float64)
	total := 0.0
	there := map[string]bool{edge: true}
	add := func(id string, pid int, said control.InstanceStats) {
		if rate, ok := m.rate(now, id, pid, said); ok {
			each[id] = rate
			total += rate
		}
	}
	add(edge, cmp.Or(said.Edge.PID, os.Getpid()), said.Edge)
	for _, i := range instances {
		there[i.ID] = true
		if i.PID != 0 {
			add(i.ID, i.PID, said.Instances[i.ID])
		}
	}
	for id := range m.uses {
		if !there[id] {
			delete(m.uses, id)
		}
	}
	return each, total >= fullShare*m.processors
}

// rate is how many processors a process uses.
func (m *meter) rate(now time.Time, id string, pid int, said control.InstanceStats) (processors float64, ok bool) {
	p := point{at: now}
	if p.used, ok = m.processorTime(pid); !ok {
		if said.At.IsZero() || now.Sub(said.At) > fresh || said.PID != 0 && said.PID != pid {
			return 0, false
		}
		p = point{said.At, said.CPU}
	}
	u := m.uses[id]
	if u == nil || u.pid != pid || p.used < u.points[len(u.points)-1].used {
		u = &use{pid: pid}
		m.uses[id] = u
	}
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
