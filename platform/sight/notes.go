package sight

import (
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

// before and after a trace, what happened to the system may have to do with it.
const (
	notedBefore = 10 * time.Second
	notedAfter  = time.Second
)

// notes are what happened to the system, oldest first.
type notes struct {
	mu     sync.Mutex
	events []control.Event
	faults map[string]control.Event // that have begun and not ended
}

func (n *notes) add(e control.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.events) >= maxNotes {
		n.events = append(n.events[:0], n.events[maxNotes/4:]...)
	}
	n.events = append(n.events, e)
	if n.faults == nil {
		n.faults = make(map[string]control.Event)
	}
	switch {
	case e.State == control.EventFaultBegun && e.Fault != "" && len(n.faults) < maxNotes:
		n.faults[e.Fault] = e
	case e.State == control.EventFaultEnded:
		delete(n.faults, e.Fault)
	}
}

// around returns what happened shortly before and during a trace, and the beginnings of faults that were in force then.
func (n *notes) around(t *control.Trace) []control.Event {
	begin, end := t.Start, t.Start.Add(t.Duration)
	for i := range t.Tree {
		if e := t.Tree[i].Start.Add(t.Tree[i].Duration); e.After(end) {
			end = e
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []control.Event
	inForce := make(map[string]control.Event)
	for _, e := range n.events {
		switch {
		case e.Time.After(end.Add(notedAfter)):
			// not yet
		case e.State == control.EventFaultBegun:
			inForce[e.Fault] = e
		case e.State == control.EventFaultEnded:
			if e.Time.Before(begin) {
				delete(inForce, e.Fault)
			}
		case !e.Time.Before(begin.Add(-notedBefore)):
			out = append(out, e)
		}
	}
	for id, e := range n.faults { // whose beginning has become old
		if !e.Time.After(end) {
			inForce[id] = e
		}
	}
	for _, e := range inForce {
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b control.Event) int { return a.Time.Compare(b.Time) })
	return out
}
