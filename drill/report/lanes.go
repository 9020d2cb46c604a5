package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// known are the states that have a look of their own; the rest looks like "other".
var known = []string{"ready", "starting", "draining", "frozen", "backoff", "crash-looping", "stopped"}

// maxPhases bounds the boxes of one lane.
const maxPhases = 500

func (c *chart) instances(r *Report, t timeline) {
	c.Thin = len(r.Instances) > 24
	seen := map[string]bool{}
	for i, in := range byService(r.Instances) {
		if i >= maxLanes {
			c.MoreLane = len(r.Instances) - i
			break
		}
		l := lane{Name: clean(in.ID, 128), Title: clean(in.ID, 128)}
		for k, ph := range in.Phases {
			if k >= maxPhases {
				break
			}
			end := t.end
			if k+1 < len(in.Phases) {
				end = in.Phases[k+1].From
			}
			state := clean(ph.State, 64)
			class := state
			if !slices.Contains(known, state) {
				class = "other"
			}
			if end <= ph.From {
				continue
			}
			seen[class] = true
			text := fmt.Sprintf("%s: %s from %s to %s", l.Name, state, moment(max(0, ph.From), r.Length), moment(end, r.Length))
			if ph.PID > 0 {
				text += fmt.Sprintf(", pid %d", ph.PID)
			}
			l.Boxes = append(l.Boxes, t.box(ph.From, end, class, text))
		}
		// What is short is drawn wider than it is, and must not be covered by what is long.
		slices.SortStableFunc(l.Boxes, func(a, b box) int { return cmp.Compare(order(a), order(b)) })
		c.Lanes = append(c.Lanes, l)
	}
	for _, s := range append(known[:len(known):len(known)], "other") {
		if seen[s] {
			c.States = append(c.States, s)
		}
	}
}

// byService puts instances of a service beside each other, also those that came late; services stay in their order.
func byService(instances []Instance) []Instance {
	place := map[string]int{}
	service := func(in Instance) string {
		if i := strings.LastIndexByte(in.ID, '-'); i >= 0 {
			return in.ID[:i]
		}
		return in.ID
	}
	for _, in := range instances {
		if _, ok := place[service(in)]; !ok {
			place[service(in)] = len(place)
		}
	}
	return slices.SortedStableFunc(slices.Values(instances), func(a, b Instance) int { return cmp.Compare(place[service(a)], place[service(b)]) })
}

func order(b box) int {
	if b.Class == known[0] {
		return 0
	}
	return 1
}
