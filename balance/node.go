package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// Sample says what the end of a call tells about its node's latency.
type Sample uint8

const (
	// None tells nothing: the call never reached the node, or was refused by it at once. A fast failure must
	// not make a node look fast.
	None Sample = iota
	// Latency is the time an answer took.
	Latency
	// LowerBound is the time after which the caller stopped waiting: the answer would have taken at least as
	// long. It can raise a node's latency and never lowers it. A further one without an answer in between doubles
	// it, which tells a frozen node from one that had a slow moment, however long that moment was. Each answer
	// after that takes it down to a quarter, so a node that has thawed is soon back.
	LowerBound
)

const (
	// decay is the time constant of the moving average (Finagle's Peak EWMA uses the same 10 s).
	decay = 10 * time.Second

	// forget is the time without a sample after which the average says too little to be compared with the
	// averages of busy nodes. A node that was slow or frozen gets one call at a time from then on, until it has
	// answered one.
	forget = 5 * decay

	// most bounds what lower bounds can double an average to.
	most = time.Minute

	// tick is the unit of a stored time: 2^20 ns, a little more than a millisecond. 32 bits of it last 52 days.
	tick = 1 << 20
)

// Node is what one client has measured about one instance: calls in flight and a peak-sensitive moving average
// of their latency, the Peak EWMA of Finagle: a slower answer counts in full at once, a faster one by how much
// time has passed since the last. Safe for concurrent use; no method allocates or blocks.
type Node struct {
	id       string
	inFlight atomic.Int64

	// avg packs the average (a float32 of nanoseconds, the upper half; negative if it is a
	// guess) with the tick of the last sample (the lower half), so that all change together and a reader needs one
	// load. Zero: no sample yet.
	avg atomic.Uint64

	record

	// warm is when slow start began, in Unix nanoseconds; 0: it is over.
	warm atomic.Int64
	// next is when the node, if it is ejected or shunned, is to be tried next, in Unix nanoseconds.
	next atomic.Int64

	// Guarded by the balancer's mu.
	zone     string
	weight   int   // at least 1
	spare    bool  // not in the subset
	newcomer bool  // came to a set that was not empty, and was in no view yet
	seen     bool  // was in a view
	entered  int64 // when it came into view last, in Unix nanoseconds
	absent   int64 // since when it is in no view, in Unix nanoseconds; 0: it is in one
	gone     int64 // since when it is no member; 0: it is one
}

// NewNode returns a node without history and balancer, for tests and pickers of one's own. The id is its instance's.
func NewNode(id string) *Node { return &Node{id: id, weight: 1} }

// ID returns the instance's id.
func (n *Node) ID() string { return n.id }

// InFlight returns the number of calls started and not done.
func (n *Node) InFlight() int { return int(n.inFlight.Load()) }

// Start counts a call as in flight. Each Start is followed by exactly one Done.
func (n *Node) Start() { n.inFlight.Add(1) }

// Done ends a call that began at start; now is the time of its end, and s what its duration is worth.
func (n *Node) Done(now, start time.Time, s Sample) {
	n.inFlight.Add(-1)
	n.sample(now, start, s)
}

// sample enters what the duration of a call is worth.
func (n *Node) sample(now, start time.Time, s Sample) {
	if s == None {
		return
	}
	took := float64(max(now.Sub(start), 1))
	at := ticks(now)
	for {
		old := n.avg.Load()
		next, guess := took, s == LowerBound
		if prev, since, guessed := unpack(old, at); old != 0 && since < forget {
			next, guess = follow(prev, since, guessed, took, s)
		}
		if n.avg.CompareAndSwap(old, pack(next, at, guess)) {
			return
		}
	}
}

// follow returns the average after a sample, from the one before it and the time since, and whether it is a guess: it
// comes from lower bounds, and answers have not confirmed it yet.
func follow(prev float64, since time.Duration, guessed bool, took float64, s Sample) (next float64, guess bool) {
	w := weight(since)
	switch {
	case s == LowerBound && guessed && float64(since) > took:
		// Nothing has come back since the last one, though this call began after it.
		return max(took, min(2*prev*w, float64(most))), true
	case s == LowerBound:
		return max(took, prev*w), true
	case guessed:
		// An answer says more than a guess, but one answer is not yet health.
		next = max(took, prev*w/4)
		return next, next > took
	case took >= prev:
		return took, false // a peak counts in full
	case since >= idle && took < prev*w/4:
		// It was slow, and nobody has asked since. To decay to what it is now would take a minute of such answers.
		return prev * w / 4, true
	default:
		return prev*w + took*(1-w), false
	}
}

// Latency returns the average as of now: that of the last sample, decayed by the time since, because an idle
// node may be faster today. It is false for a node without a sample in the last 50 seconds.
func (n *Node) Latency(now time.Time) (time.Duration, bool) {
	v, ok := n.latency(now)
	return time.Duration(v), ok
}

// Cost is the latency that one more call has to expect, in nanoseconds: the average times the calls that would
// then be in flight. It is 0 for a node whose latency is not known.
func (n *Node) Cost(now time.Time) float64 {
	v, _ := n.latency(now)
	return v * float64(n.InFlight()+1)
}

// since returns the time since the last sample.
func (n *Node) since(now time.Time) time.Duration {
	_, ago, _ := unpack(n.avg.Load(), ticks(now))
	return ago
}

func (n *Node) latency(now time.Time) (float64, bool) {
	word := n.avg.Load()
	if word == 0 {
		return 0, false
	}
	v, since, _ := unpack(word, ticks(now))
	if since >= forget {
		return 0, false
	}
	return v * weight(since), true
}

// weight is what is left of an average after a time without samples.
func weight(since time.Duration) float64 {
	return math.Exp(-float64(since) / float64(decay))
}

func ticks(t time.Time) uint32 { return uint32(nanos(t) / tick) }

func pack(v float64, at uint32, guess bool) uint64 {
	if guess {
		v = -v
	}
	return uint64(math.Float32bits(float32(v)))<<32 | uint64(at)
}

// unpack returns the average, the time from its last sample to at, and whether it is a guess. The time is never
// negative: two goroutines may read the clock in one order and get here in the other.
func unpack(word uint64, at uint32) (avg float64, since time.Duration, guess bool) {
	v := float64(math.Float32frombits(uint32(word >> 32)))
	ago := int32(at - uint32(word))
	return math.Abs(v), time.Duration(max(ago, 0)) * tick, v < 0
}
