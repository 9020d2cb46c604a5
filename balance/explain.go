package balance

import "time"

// Explanation is why a node was picked, in words.
type Explanation struct {
	// Candidates is how many there were to pick from.
	Candidates int
	// Ejected are the ids of those that were left alone; at most as many as were asked for.
	Ejected []string
	// Reason is by what the one was chosen, such as "the only candidate".
	Reason string
}

var reasons = map[policy]string{
	p2c:          "of two at random, the one with the lower latency × calls in flight",
	hcl:          "of those probed, the fastest that is not busy",
	roundRobin:   "its turn",
	leastRequest: "of two at random, the one with fewer calls in flight",
	ringHash:     "its place on the ring, by the key of the call",
	custom:       "by the client's own picker",
}

// Explain says why n was picked, as of now: it is for those who look at a call that has ended, and what has changed since the
// pick has changed the answer. It names at most most ejected nodes. n may be nil: none was picked.
func (v *View) Explain(now time.Time, n *Node, most int) Explanation {
	var e Explanation
	if len(v.nodes) == 0 {
		e.Reason = "there was no candidate"
		return e
	}
	p := v.plan(now)
	e.Candidates = len(p.all.nodes)
	for _, m := range v.nodes {
		if m.ejected.Load() && len(e.Ejected) < most {
			e.Ejected = append(e.Ejected, m.id)
		}
	}
	switch {
	case n == nil:
		e.Reason = "none was picked"
	case n.ejected.Load() && len(p.out) > 0:
		e.Reason = "ejected, and tried with this call"
	case len(p.all.nodes) == 1:
		e.Reason = "the only candidate"
	default:
		e.Reason = reasons[p.set.policy]
		v.b.mu.Lock()
		near := p.near != nil && n.zone == p.set.Zone
		v.b.mu.Unlock()
		if near {
			e.Reason += ", in the same zone"
		}
	}
	return e
}
