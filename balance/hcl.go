package balance

import (
	"slices"
	"sync"
	"time"
)

const (
	// fresh is how long the answer to a probe is believed.
	fresh = time.Second
	// hot is the quantile of calls in flight, over what probes have seen lately, above which a node is hot.
	hot = 0.84
	// minPool and maxPool bound the answers that are kept, a sixth of the number of nodes. With more of them all clients run
	// to the same few nodes.
	minPool, maxPool = 2, 16
	// seen is the number of answers that the quantile is taken of.
	seen = 128
	// reuse is by how much more answers are used than the pool is filled, so that it does not run dry.
	reuse = 1.0
)

// pool is the answers to probes that hcl chooses by, the policy of B. Wydrowski et al., "Load is not what you should
// balance: Introducing Prequal" (NSDI 2024): among the nodes with not too many calls in them the fastest, and only if
// there is none, the one with the fewest calls. What is known is the nodes' own load, caused by whomever, and not by this
// client alone.
type pool struct {
	mu      sync.Mutex
	entries [maxPool]entry
	n       int
	oldest  bool // what is to be removed next: the oldest, or the worst

	ring   [seen]int32 // calls in flight, in order of arrival
	sorted [seen]int32
	filled int
	at     int
}

// entry is the answer to a probe.
type entry struct {
	node *Node
	Report
	at   time.Time
	left int // uses
}

func poolSize(nodes int) int { return min(max(nodes/6, minPool), maxPool) }

// Probed tells the answer to a probe that [View.Probes] asked for; now is when it came.
func (b *Balancer) Probed(n *Node, now time.Time, r Report) {
	b.mu.Lock()
	nodes := len(b.reach)
	b.mu.Unlock()
	b.pool.add(n, now, r, nodes, b.set.Load().ProbeRate, hash(n.id)^uint64(now.UnixNano()))
}

func (p *pool) add(n *Node, now time.Time, r Report, nodes int, rate float64, rnd uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.InFlight = min(max(r.InFlight, 0), 1<<24)
	p.saw(int32(r.InFlight))
	size := poolSize(nodes)
	e := entry{node: n, Report: r, at: now, left: uses(size, nodes, rate, rnd)}
	for i := range p.entries[:p.n] {
		if p.entries[i].node == n {
			p.entries[i] = e
			return
		}
	}
	for p.n >= size {
		p.drop(p.findOldest())
	}
	p.entries[p.n] = e
	p.n++
}

// uses returns how often an answer may be used: as often as makes up for those that are removed unused.
func uses(size, nodes int, rate float64, rnd uint64) int {
	gained := (1-float64(size)/float64(max(nodes, 1)))*rate - 1
	if gained <= 0 {
		return maxPool
	}
	v := min(max((1+reuse)/gained, 1), maxPool)
	n := int(v)
	if float64(mix(rnd)>>11)/(1<<53) < v-float64(n) {
		n++
	}
	return n
}

// saw enters a number of calls in flight into what the quantile is taken of.
func (p *pool) saw(v int32) {
	if p.filled == seen {
		i, _ := slices.BinarySearch(p.sorted[:], p.ring[p.at])
		copy(p.sorted[i:], p.sorted[i+1:])
		p.filled--
	}
	i, _ := slices.BinarySearch(p.sorted[:p.filled], v)
	copy(p.sorted[i+1:p.filled+1], p.sorted[i:p.filled])
	p.sorted[i] = v
	p.filled++
	p.ring[p.at] = v
	p.at = (p.at + 1) % seen
}

// threshold is the number of calls in flight above which a node is hot.
func (p *pool) threshold() int {
	if p.filled == 0 {
		return 0
	}
	return int(p.sorted[int(hot*float64(p.filled-1))])
}

// pick returns the index of the chosen node of the group, or -1 if too little is known.
func (p *pool) pick(by *plan, g *group, c *Call, r uint64) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := p.n - 1; i >= 0; i-- {
		if c.Now.Sub(p.entries[i].at) > fresh {
			p.drop(i)
		}
	}
	limit, typical := p.threshold(), p.typical()
	best, known := -1, 0
	var at int
	for i := range p.entries[:p.n] {
		e := &p.entries[i]
		if len(c.Tried) > 0 && c.tried(e.node) || e.node.ejected.Load() {
			continue
		}
		w, here := g.where[e.node]
		if !here {
			continue
		}
		k := int(w)
		if r = mix(r); by.warms && e.node.warm.Load() != 0 && e.node.warmth(c.Now, by.set.SlowStart) <= float64(r>>11)/(1<<53) {
			continue
		}
		known++
		if best < 0 || e.better(&p.entries[at], limit, typical) {
			best, at = k, i
		}
	}
	if known < minPool {
		return -1
	}
	e := &p.entries[at]
	e.InFlight++
	if e.left--; e.left <= 0 {
		p.drop(at)
	}
	p.remove(limit, typical)
	return best
}

// better reports whether e is a better choice than f: cold before hot, among the cold the faster, among the hot the one
// with fewer calls.
func (e *entry) better(f *entry, limit int, typical time.Duration) bool {
	eh, fh := e.InFlight > limit, f.InFlight > limit
	switch {
	case eh != fh:
		return fh
	case eh:
		return e.InFlight < f.InFlight
	}
	el, fl := e.latency(typical), f.latency(typical)
	if el == fl {
		return e.InFlight < f.InFlight
	}
	return el < fl
}

// latency is the reported one; for a node that does not know its own that of the others. To take it for fast would send it
// every call.
func (e *entry) latency(typical time.Duration) time.Duration {
	if e.Latency <= 0 {
		return typical
	}
	return e.Latency
}

// typical is the mean of the latencies that are known.
func (p *pool) typical() time.Duration {
	sum, n := time.Duration(0), time.Duration(0)
	for i := range p.entries[:p.n] {
		if l := p.entries[i].Latency; l > 0 {
			sum += l
			n++
		}
	}
	return sum / max(n, 1)
}

// remove takes the oldest answer out of the pool, or the worst, so that what is left is not always what nobody wanted.
func (p *pool) remove(limit int, typical time.Duration) {
	if p.n == 0 {
		return
	}
	if p.oldest = !p.oldest; p.oldest {
		p.drop(p.findOldest())
		return
	}
	worst := 0
	for i := 1; i < p.n; i++ {
		if p.entries[worst].better(&p.entries[i], limit, typical) {
			worst = i
		}
	}
	p.drop(worst)
}

func (p *pool) findOldest() int {
	oldest := 0
	for i := 1; i < p.n; i++ {
		if p.entries[i].at.Before(p.entries[oldest].at) {
			oldest = i
		}
	}
	return oldest
}

func (p *pool) drop(i int) {
	p.n--
	p.entries[i] = p.entries[p.n]
	p.entries[p.n] = entry{}
}
