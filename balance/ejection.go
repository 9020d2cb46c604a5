package balance

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// chance is the probability of a run of failures below which it is none.
	chance = 1e-7
	// recent is the time in which the other nodes' failures are counted to judge a node, in slots of the window, and last
	// the number of calls of each, if that shows more.
	recent = 2
	last   = 16
	// compared is the time, in slots, that success rates are compared over where there were enough calls in it.
	compared = 3
	// wins is the number of good answers in a row that bring a node back, twice as many if it did not fail always; each
	// further ejection doubles it, up to maxWins.
	wins    = 3
	maxWins = 24
	// confirm is the time between two probes after a good answer.
	confirm = 100 * time.Millisecond
	// backoff is the factor from one wait between probes to the next.
	backoff = 1.5
	// forgive is the time without an ejection after which the earlier ones are forgotten.
	forgive = 5 * time.Minute
	// judging is the time between two comparisons of success rates.
	judging = 250 * time.Millisecond
	// sigmas is how many standard deviations below the middle of the others a success rate is theirs no more (Envoy), and
	// noise the same for the error of their estimate.
	sigmas = 1.9
	noise  = 3
	// normal makes a standard deviation of a median absolute deviation.
	normal = 1.4826
)

const (
	slots = 10 // of the window
	slot  = DefaultWindow / slots
)

// record is what is known of the health of a node.
type record struct {
	run     atomic.Uint32 // failures in a row
	latest  atomic.Uint32 // the last 32 ends, a 1 for each failure, the youngest in the lowest bit
	ejected atomic.Bool
	hopeful atomic.Bool // ejected, and the last probe was good

	// window holds the calls of the last ten slots: the number of the slot (24 bits), how many were not good (20), how
	// many there were (20).
	window [slots]atomic.Uint64

	// interval is the time between two probes, in nanoseconds.
	interval atomic.Int64

	// Guarded by the balancer's mu.
	out   time.Time // when it was ejected
	grown time.Time // when the time between two probes was last made longer
	why   string    // it was ejected
	back  time.Time // when it was re-admitted
	won   int       // good answers in a row since it was ejected
	need  int       // that bring it back
	times int       // ejected, lately
}

const (
	countBits = 20
	countMask = 1<<countBits - 1
)

// count enters a call into the window.
func (r *record) count(now time.Time, h Health) {
	at := uint64(nanos(now)/int64(slot)) & (1<<24 - 1)
	w := &r.window[at%slots]
	for {
		old := w.Load()
		bad, all := old>>countBits&countMask, old&countMask
		if old>>(2*countBits) != at {
			bad, all = 0, 0
		}
		if all == countMask {
			return
		}
		all++
		if h != Good {
			bad++
		}
		if w.CompareAndSwap(old, at<<(2*countBits)|bad<<countBits|all) {
			return
		}
	}
}

// counted returns the calls in the last so many slots, the present one included.
func (r *record) counted(now time.Time, last uint64) (bad, all float64) {
	at := uint64(nanos(now)/int64(slot)) & (1<<24 - 1)
	for i := range r.window {
		w := r.window[i].Load()
		if (at-w>>(2*countBits))&(1<<24-1) < last && w != 0 {
			bad += float64(w >> countBits & countMask)
			all += float64(w & countMask)
		}
	}
	return bad, all
}

// ended enters the end of a call into what is known of the last ones.
func (r *record) ended(bad bool) {
	bit := uint32(0)
	if bad {
		bit = 1
	}
	for {
		old := r.latest.Load()
		if old<<1|bit == old { // nothing but good ones, as nearly always
			return
		}
		if r.latest.CompareAndSwap(old, old<<1|bit) {
			return
		}
	}
}

func (r *record) clear() {
	r.run.Store(0)
	r.latest.Store(0)
	for i := range r.window {
		r.window[i].Store(0)
	}
}

// Done ends a call to n that began at start; now is the time of its end, s what its duration is worth, and h what it
// says about the node. Each [Node.Start] is followed by one Done or DoneTook.
func (b *Balancer) Done(n *Node, now, start time.Time, s Sample, h Health) {
	b.DoneTook(n, now, start, now.Sub(start), s, h)
}

// DoneTook is Done for a call that was under way for longer than its sample is about, as one is whose answer came after took
// and was read until now. What it says about the node is no newer than its start all the same.
func (b *Balancer) DoneTook(n *Node, now, start time.Time, took time.Duration, s Sample, h Health) {
	n.Done(now, now.Add(-took), s)
	b.enter(n, now, start, h)
}

// Learn tells what a call says about n that began at start and ended at now, where Done could not say it yet and was told
// None and Neutral. What is in flight does not change.
func (b *Balancer) Learn(n *Node, now, start time.Time, s Sample, h Health) {
	n.sample(now, start, s)
	b.enter(n, now, start, h)
}

// Alive tells that n has answered something to a call that began at start and goes on. To an ejected node that counts as
// a good answer, and Alive reports whether it is one: the end of the call may be hours away. Of any other it says nothing,
// or what answers and breaks would never be one that fails each time.
func (b *Balancer) Alive(n *Node, now, start time.Time) bool {
	if !n.ejected.Load() || b.set.Load().Ejection.Off {
		return false
	}
	b.probed(n, now, start, Good)
	return true
}

// enter enters what the end of a call says about the health of n.
func (b *Balancer) enter(n *Node, now, start time.Time, h Health) {
	if h == Neutral {
		return
	}
	set := b.set.Load()
	if set.Ejection.Off {
		return
	}
	n.count(now, h)
	n.ended(h == Bad)
	if n.ejected.Load() {
		b.probed(n, now, start, h)
		return
	}
	switch {
	case h == Good:
		if n.run.Load() != 0 {
			n.run.Store(0)
		}
		return
	case h == Bad && set.Ejection.Consecutive > 0:
		if run := n.run.Add(1); run%uint32(set.Ejection.Consecutive) == 0 {
			b.consider(n, now)
		}
	}
	if set.Ejection.SuccessRate > 0 {
		b.judge(now)
	}
}

// consider ejects n if its failures in a row are no chance, going by those of the others.
func (b *Balancer) consider(n *Node, now time.Time) {
	b.mu.Lock()
	set, run := b.set.Load(), n.run.Load()
	var e *Event
	if !n.ejected.Load() && float64(run) >= b.enough(n, set, now) {
		e = b.eject(n, set, now, wins, fmt.Sprintf("%d failures in a row", run))
	}
	b.mu.Unlock()
	b.tell(e)
}

// enough returns how many failures of n in a row are no chance if it is no worse than the other nodes are at present.
// b.mu is held.
func (b *Balancer) enough(n *Node, set *settings, now time.Time) float64 {
	q := 1 - b.others(n, now)
	if q >= 1 {
		return math.Inf(1)
	}
	return max(float64(set.Ejection.Consecutive), math.Ceil(math.Log(chance)/math.Log(q)))
}

// others returns the present success rate of the nodes that are not ejected, without n: that of the last two seconds, or
// that of the last calls of each if it is lower. If all fail from one moment on, it is these that show it first. b.mu is held.
func (b *Balancer) others(n *Node, now time.Time) float64 {
	var bad, all, lately, of float64
	for _, m := range b.reach {
		if m == n || m.ejected.Load() {
			continue
		}
		mb, ma := m.counted(now, recent)
		bad, all = bad+mb, all+ma
		lately += float64(bits.OnesCount32(m.latest.Load() & (1<<last - 1)))
		of += last
	}
	q := 0.0
	if all > 0 {
		q = bad / all
	}
	if of > 0 {
		q = max(q, lately/of)
	}
	return 1 - q
}

// judge compares the success rates of all nodes, and ejects the worst if it is out of line.
func (b *Balancer) judge(now time.Time) {
	at, last := nanos(now), b.judged.Load()
	if at-last < int64(judging) || !b.judged.CompareAndSwap(last, at) {
		return
	}
	b.mu.Lock()
	e := b.worst(b.set.Load(), now)
	b.mu.Unlock()
	b.tell(e)
}

// worst ejects the node with the lowest success rate if it is too low in itself and in comparison. It goes by the median
// of the others, which a few bad ones among them do not shift, and by their deviation from it. b.mu is held.
func (b *Balancer) worst(set *settings, now time.Time) *Event {
	var low *Node
	lowest, of := 1.0, 0.0
	rates := make([]float64, 0, len(b.reach))
	for _, n := range b.reach {
		if n.ejected.Load() {
			continue
		}
		// The shortest time with enough calls says most about the present.
		bad, all := n.counted(now, compared)
		if all < float64(set.Ejection.MinSamples) {
			bad, all = n.counted(now, slots)
		}
		if all < float64(set.Ejection.MinSamples) {
			continue
		}
		rate := 1 - bad/all
		rates = append(rates, rate)
		if rate < lowest {
			low, lowest, of = n, rate, all
		}
	}
	if low == nil || lowest >= set.Ejection.SuccessRate || len(rates) < 2 {
		return nil
	}
	i := slices.Index(rates, lowest)
	rates = slices.Delete(rates, i, i+1)
	middle := median(rates)
	for i, r := range rates {
		rates[i] = math.Abs(r - middle)
	}
	// Where all are bad, which of them is worst at the moment is chance.
	if b.others(low, now) < set.Ejection.SuccessRate {
		return nil
	}
	if lowest >= middle-max(sigmas*normal*median(rates), noise*math.Sqrt(middle*(1-middle)/of)) {
		return nil
	}
	return b.eject(low, set, now, 2*wins, fmt.Sprintf("%.0f %% of %.0f calls succeeded, with the others %.0f %%", 100*lowest, of, 100*middle))
}

func median(v []float64) float64 {
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// eject ejects n, unless too many are, and returns what to tell. set is as of b.mu, which is held: nobody would re-admit
// a node that was ejected by settings of before Ejection.Off.
func (b *Balancer) eject(n *Node, set *settings, now time.Time, need int, reason string) *Event {
	if set.Ejection.Off {
		return nil
	}
	out, here := 0, false
	for _, m := range b.reach {
		if m.ejected.Load() {
			out++
		}
		here = here || m == n
	}
	// One that cannot be reached is not picked anyway.
	if !here || len(b.reach) < 2 || out+1 > max(int(set.Ejection.MaxShare*float64(len(b.reach))), 1) {
		return nil
	}
	if now.Sub(n.back) > forgive {
		n.times = 0
	}
	n.times++
	n.why = reason
	n.out, n.grown, n.won, n.need = now, now, 0, min(need<<min(n.times-1, 8), maxWins)
	n.hopeful.Store(false)
	interval := min(float64(set.Ejection.Probe)*math.Pow(backoff, float64(n.times-1)), float64(set.Ejection.MaxProbe))
	n.interval.Store(int64(interval))
	n.next.Store(nanos(now) + n.jittered())
	n.ejected.Store(true)
	b.epoch.Add(1)
	return &Event{ID: n.id, At: now, Ejected: true, Reason: reason, Times: n.times}
}

// jittered returns the interval within a quarter of it, so that not all clients probe at once. b.mu is held.
func (n *Node) jittered() int64 {
	r := mix(hash(n.id) ^ uint64(n.out.UnixNano()) ^ uint64(n.interval.Load()))
	return int64(float64(n.interval.Load()) * (0.75 + 0.5*float64(r>>11)/(1<<53)))
}

// probed takes the end of a call to an ejected node.
func (b *Balancer) probed(n *Node, now, start time.Time, h Health) {
	b.mu.Lock()
	set := b.set.Load()
	if !n.ejected.Load() || start.Before(n.out) { // it says how the node was before
		b.mu.Unlock()
		return
	}
	if h != Good {
		n.won = 0
		n.hopeful.Store(false)
		if now.Sub(n.grown) < time.Duration(n.interval.Load()/2) { // a call that had failed elsewhere, and no probe
			b.mu.Unlock()
			return
		}
		n.grown = now
		n.interval.Store(int64(min(backoff*float64(n.interval.Load()), float64(set.Ejection.MaxProbe))))
		n.next.Store(nanos(now) + n.jittered())
		b.mu.Unlock()
		return
	}
	n.won++
	if n.won < n.need {
		n.hopeful.Store(true)
		n.next.Store(nanos(now) + int64(confirm))
		b.mu.Unlock()
		return
	}
	n.clear()
	n.back = now
	n.warm.Store(nanos(now))
	n.ejected.Store(false)
	b.epoch.Add(1)
	e := &Event{ID: n.id, At: now, Reason: fmt.Sprintf("%d good answers in a row", n.won), Times: n.times, Out: now.Sub(n.out)}
	b.mu.Unlock()
	b.tell(e)
}

func (b *Balancer) tell(e *Event) {
	if e != nil && b.onEject != nil {
		b.onEject(*e)
	}
}
