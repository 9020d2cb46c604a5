package registry

import (
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/registry/driver"
)

// maxInstances bounds what is kept of one service, whatever the engine holds.
const maxInstances = 4096

// view decides which instances of one service are candidates. It is pure: no clock, lock, goroutine or I/O.
//
// The invariant is that the engine alone never takes away more instances than it leaves: of those that vanished within
// one window without draining first, either no more are gone than are still listed, or all of them are candidates. Of
// those that are found missing within one window after an outage, all are: while the engine was away nobody could keep a
// lease alive, and not all come back at one moment.
type view struct {
	window     time.Duration // removals this close together are judged together
	suspectFor time.Duration

	listed      map[string]Instance // what the engine says
	owners      map[string]string   // who has written that
	unreadable  map[string]bool
	gone        map[string]departure
	unreachable map[string]time.Time // last report for a listed instance

	// answering is how long, in total, the engine has been answering. A departure ages by this clock.
	answering  time.Duration
	lastAnswer time.Time // zero after a failure

	outage bool      // the engine has failed since it answered last
	back   time.Time // when it first answered after the last outage

	known  bool   // there is something to publish
	source Source // of what is listed
}

// departure is an instance that vanished without draining.
type departure struct {
	inst    Instance
	at      time.Time
	age     time.Duration // view.answering when it vanished
	suspect bool          // still a candidate
	dead    bool          // reported unreachable shortly before; never a candidate again
}

// notes is what a step has to say to the log.
type notes struct {
	suspected, cleared, aged []string
	unreadable               map[string]error
	ignored                  int // records beyond maxInstances
}

func newView(window, suspectFor time.Duration) *view {
	return &view{
		window: window, suspectFor: suspectFor,
		listed: make(map[string]Instance), owners: make(map[string]string), unreadable: make(map[string]bool),
		gone: make(map[string]departure), unreachable: make(map[string]time.Time),
	}
}

// prime has an empty view judge the engine's first answer by what was known earlier, and publishes nothing.
func (v *view) prime(instances []Instance) {
	if v.known {
		return
	}
	for _, inst := range instances[:min(len(instances), maxInstances)] {
		v.listed[inst.ID] = inst
	}
}

// seed fills an empty view with what was known earlier.
func (v *view) seed(instances []Instance, source Source) {
	if v.known || len(instances) == 0 {
		return
	}
	v.prime(instances)
	v.known, v.source = true, source
}

// replace takes a complete list.
func (v *view) replace(l driver.Listing, now time.Time) notes {
	v.answer(now)
	var n notes
	before, owners := v.listed, v.owners
	v.listed, v.owners = make(map[string]Instance, len(l.Records)), make(map[string]string, len(l.Records))
	clear(v.unreadable)
	for _, r := range l.Records {
		if len(v.listed) >= maxInstances {
			n.ignored++
			continue
		}
		if owner, ok := owners[r.ID]; ok && owner != r.Owner {
			delete(v.unreachable, r.ID)
		}
		v.owners[r.ID] = r.Owner
		v.put(r.Instance, before, &n)
	}
	for _, u := range l.Unreadable {
		if len(v.unreadable) >= maxInstances {
			n.ignored++
			continue
		}
		v.garble(u.ID, u.Err, &n)
		if old, ok := before[u.ID]; ok {
			v.listed[u.ID] = old
		}
	}
	for id, old := range before {
		if _, ok := v.listed[id]; !ok {
			v.depart(old, now)
		}
	}
	v.settle(now, &n)
	return n
}

// change takes what a watch reported, in order.
func (v *view) change(changes []driver.Change, now time.Time) notes {
	v.answer(now)
	var n notes
	for _, c := range changes {
		old, had := v.listed[c.ID]
		switch {
		case c.Err != nil:
			if len(v.unreadable) < maxInstances {
				v.garble(c.ID, c.Err, &n)
			}
		case c.Record != nil:
			delete(v.unreadable, c.ID)
			delete(v.unreachable, c.ID) // also if it is the same: somebody live has written it
			if !had && len(v.listed) >= maxInstances {
				n.ignored++
				continue
			}
			v.owners[c.ID] = c.Record.Owner
			v.put(c.Record.Instance, v.listed, &n)
		default:
			delete(v.unreadable, c.ID)
			delete(v.listed, c.ID)
			delete(v.owners, c.ID)
			if had {
				v.depart(old, now)
			}
		}
	}
	v.settle(now, &n)
	return n
}

// fail says that the engine did not answer. Nothing is taken away.
func (v *view) fail() {
	v.lastAnswer = time.Time{}
	v.outage = v.outage || v.known && v.source != Disk
	if v.source == Live {
		v.source = Stale
	}
}

// drop takes a report that id cannot be connected to, and says whether a suspect was dropped for it.
func (v *view) drop(id string, now time.Time) bool {
	if g, ok := v.gone[id]; ok {
		v.gone[id] = departure{inst: g.inst, at: g.at, age: g.age, dead: true}
		return g.suspect
	}
	if _, ok := v.listed[id]; ok {
		v.unreachable[id] = now
	}
	return false
}

func (v *view) answer(now time.Time) {
	if !v.lastAnswer.IsZero() {
		v.answering += now.Sub(v.lastAnswer)
	}
	v.lastAnswer = now
	v.known, v.source = true, Live
	if v.outage {
		v.outage, v.back = false, now
	}
}

// put lists inst. A record that is new or has changed was written by a live instance, whatever was reported before; so was one that
// a watch brings, or that has another owner, while a list may bring what was written long ago.
func (v *view) put(inst Instance, before map[string]Instance, n *notes) {
	if old, ok := before[inst.ID]; !ok || !equal(old, inst) {
		delete(v.unreachable, inst.ID)
	}
	if v.gone[inst.ID].suspect {
		n.cleared = append(n.cleared, inst.ID)
	}
	delete(v.gone, inst.ID)
	v.listed[inst.ID] = inst
}

func (v *view) garble(id string, err error, n *notes) {
	v.unreadable[id] = true
	if n.unreadable == nil {
		n.unreadable = make(map[string]error)
	}
	n.unreadable[id] = err
}

// depart notes that the engine no longer has old. One that was draining has left as it said it would.
func (v *view) depart(old Instance, now time.Time) {
	reported, ok := v.unreachable[old.ID]
	delete(v.unreachable, old.ID)
	if old.Draining || len(v.gone) >= maxInstances {
		return
	}
	v.gone[old.ID] = departure{inst: old, at: now, age: v.answering, dead: ok && now.Sub(reported) <= 2*v.window}
}

// settle judges the departures: those of one window are distrusted when they outnumber the instances that are left, and
// those right after an outage in any case.
func (v *view) settle(now time.Time, n *notes) {
	present := 0
	for _, inst := range v.listed {
		if !inst.Draining {
			present++
		}
	}
	open := 0
	for id, g := range v.gone {
		switch {
		case g.suspect && v.answering-g.age > v.suspectFor:
			n.aged = append(n.aged, id)
			delete(v.gone, id)
		case g.suspect:
			open++
		case now.Sub(g.at) > v.window:
			delete(v.gone, id)
		case !g.dead:
			open++
		}
	}
	for id, g := range v.gone {
		doubtful := open > present || !v.back.IsZero() && !g.at.Before(v.back) && g.at.Sub(v.back) <= v.window
		if doubtful && !g.dead && !g.suspect {
			g.suspect = true
			v.gone[id] = g
			n.suspected = append(n.suspected, id)
		}
	}
}

// set returns the candidates.
func (v *view) set() Set {
	s := Set{Source: v.source, Instances: make([]Instance, 0, len(v.listed))}
	for _, inst := range v.listed {
		s.Instances = append(s.Instances, inst)
	}
	for id, g := range v.gone {
		if g.suspect && len(s.Instances) < 2*maxInstances {
			s.Instances = append(s.Instances, g.inst)
			if s.Suspect == nil {
				s.Suspect = make(map[string]bool)
			}
			s.Suspect[id] = true
		}
	}
	for id := range v.unreadable {
		s.Unreadable = append(s.Unreadable, id)
	}
	slices.Sort(s.Unreadable)
	slices.SortFunc(s.Instances, func(a, b Instance) int { return strings.Compare(a.ID, b.ID) })
	return s
}
