package drill

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/drill/report"
	"github.com/holdfast-go/holdfast/platform/control"
)

// maxPhases bounds what is kept of one instance: one that dies over and over has no end of them.
const maxPhases = 2000

// lanes keeps what state each instance was in, and since when. Safe for concurrent use.
type lanes struct {
	mu    sync.Mutex
	lanes []report.Instance
	addrs map[string]string // who is at an address: instances keep theirs
}

// begin notes how instances are before the drill.
func (l *lanes) begin(instances []control.Instance) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lanes, l.addrs = nil, make(map[string]string)
	for _, i := range instances {
		l.lanes = append(l.lanes, report.Instance{ID: i.ID, Phases: []report.Phase{{State: i.State, PID: i.PID}}})
		for _, addr := range i.Addrs {
			l.addrs[addr] = i.ID
		}
	}
}

// follow notes what happens until ctx is done. A stream that breaks off is begun again: the lanes then lack a moment.
func (l *lanes) follow(ctx context.Context, c Control, began time.Time) {
	for ctx.Err() == nil {
		_ = c.Events(ctx, nil, func(e control.Event) error {
			if e.Instance != "" && isState(e.State) {
				l.add(e.Instance, max(0, e.Time.Sub(began)), e.State)
			}
			return nil
		})
		sleep(ctx, 200*time.Millisecond)
	}
}

// isState tells the states that an instance can be in from what else events say of one. An instance that has won an election, or
// gets no calls from another one, is as ready as it was.
func isState(name string) bool {
	switch name {
	case "", control.EventFaultBegun, control.EventFaultEnded, control.EventRestarted, control.EventScaled, control.EventScaling,
		control.EventElected, control.EventDeposed, control.EventEjected, control.EventReadmitted:
		return false
	}
	return true
}

// at returns the instance at an address, "" if there was none before the drill.
func (l *lanes) at(addr string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addrs[addr]
}

func (l *lanes) add(id string, at time.Duration, state string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.lanes, func(lane report.Instance) bool { return lane.ID == id })
	if i < 0 {
		i = len(l.lanes)
		l.lanes = append(l.lanes, report.Instance{ID: id})
	}
	lane := &l.lanes[i]
	if n := len(lane.Phases); n > 0 && lane.Phases[n-1].State == state || n >= maxPhases {
		return
	}
	lane.Phases = append(lane.Phases, report.Phase{From: at, State: state})
}

// list returns what was kept, in an order that people expect: as the system lists them, new ones last.
func (l *lanes) list() []report.Instance {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lanes)
}

// attempts counts what the processes of a system asked of each other, and how often they had to.
type attempts struct {
	mu       sync.Mutex
	calls    uint64
	attempts uint64
}

type source struct {
	id  string
	pid int
}

// follow adds up what the processes say until ctx is done. Their counters begin with them, so each counts by what it grew.
func (a *attempts) follow(ctx context.Context, c Control) {
	last := make(map[source]control.InstanceStats)
	first := true
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if stats, err := c.Stats(ctx); err == nil {
			a.add(last, "edge", stats.Edge, first)
			for id, s := range stats.Instances {
				a.add(last, id, s, first)
			}
			first = false
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (a *attempts) add(last map[source]control.InstanceStats, id string, s control.InstanceStats, first bool) {
	key := source{id, s.PID}
	before, known := last[key]
	last[key] = s
	if first || !known && id == "edge" {
		return // what was before the drill
	}
	if s.Calls < before.Calls || s.Attempts < before.Attempts {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls += s.Calls - before.Calls
	a.attempts += s.Attempts - before.Attempts
}

// amplification is attempts a call, 0 if nothing is known.
func (a *attempts) amplification() float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls == 0 || a.attempts == 0 {
		return 0
	}
	return float64(a.attempts) / float64(a.calls)
}
