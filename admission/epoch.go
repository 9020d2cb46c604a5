package admission

import (
	"math"
	"time"
)

// epoch is what was measured over a while.
type epoch struct {
	inFlight float64       // calls in progress, on average
	rate     float64       // calls finished per second
	mean     float64       // how long those took, in ns; 0: none was
	bound    bool          // calls waited for most of the time
	growing  bool          // more came than ended
	piling   bool          // by so many that it is not by chance
	idle     bool          // it began with the first call in progress
	late     float64       // share of the calls that ended by being given up, those that failed at once not counted
	patience float64       // how long calls that were given up took, in ns
	turnover float64       // ns
	length   time.Duration //
}

// latency is how long a call takes at this number of calls in progress, in seconds, by Little's law. Unlike the mean of
// those that have ended, which came when fewer or more were in progress, it is of now.
func (e epoch) latency() float64 { return e.inFlight / e.rate }

// usual is how long calls took in an epoch before they became more, in seconds, given the rate at which they ended later.
// If the service was idle when it began, and that rate has hardly grown since, some of them may have waited for others
// already: then those that have ended say more than those in progress.
func (e epoch) usual(later float64) float64 {
	if e.idle && later < 1.5*e.rate {
		return min(e.latency(), e.mean/float64(time.Second))
	}
	return e.latency()
}

// and returns both epochs as one.
func (e epoch) and(o epoch) epoch {
	a, b := float64(e.length), float64(o.length)
	sum := a + b
	if sum == 0 {
		return e
	}
	if n := e.rate*a + o.rate*b; n > 0 {
		e.mean = (e.mean*e.rate*a + o.mean*o.rate*b) / n
	}
	e.inFlight = (e.inFlight*a + o.inFlight*b) / sum
	e.rate = (e.rate*a + o.rate*b) / sum
	e.late = (e.late*a + o.late*b) / sum
	e.turnover = max(e.turnover, o.turnover)
	e.idle = e.idle || o.idle
	e.length += o.length
	return e
}

// meter measures an epoch.
type meter struct {
	begin, last int64
	idle        bool    // there was no call in progress at begin
	area        float64 // calls in progress times ns
	waited      float64 // ns in which calls were waiting
	arrived     int
	ended       int
	late        int
	quick       int // failed without having done work
	finished    int
	sum         float64 // of the latencies of those, in ns
	squares     float64
	lateSum     float64 // of the times that calls were waited for in vain
}

// lateness is the share of the calls given up in those that ended. Calls that failed at once say nothing of how long the
// others take: however many they are, they hide no overload.
func (m *meter) lateness() float64 {
	if m.late == 0 {
		return 0
	}
	return float64(m.late) / float64(m.ended-m.quick)
}

// turnover is how long it takes until other calls are in progress: the mean latency, weighted by latency, in ns. A few
// slow calls among many fast ones are most of those in progress.
func (m *meter) turnover() float64 {
	if m.sum == 0 {
		return 0
	}
	return m.squares / m.sum
}

// advance accounts for the time since the last event, in which inFlight calls were in progress.
func (m *meter) advance(now int64, inFlight int, waiting bool) {
	d := float64(now - m.last)
	if d <= 0 {
		return
	}
	m.last = now
	m.area += d * float64(inFlight)
	if waiting {
		m.waited += d
	}
}

func (m *meter) reset(now int64) { *m = meter{begin: now, last: now} }

func (m *meter) epoch(now int64, inFlight int, limit float64) epoch {
	length := float64(now - m.begin)
	e := epoch{length: time.Duration(now - m.begin), idle: m.idle}
	if length <= 0 {
		return e
	}
	e.inFlight = m.area / length
	if m.finished > 0 {
		e.mean = m.sum / float64(m.finished)
	}
	e.rate = float64(m.finished) / length * float64(time.Second)
	e.turnover = m.turnover()
	if m.late > 0 {
		e.patience = m.lateSum / float64(m.late)
	}
	e.late = m.lateness()
	e.bound = m.waited > 0.7*length || e.inFlight >= 0.9*math.Floor(limit)
	e.piling = float64(m.arrived-m.ended) > math.Sqrt(float64(m.arrived))
	e.growing = m.arrived > m.ended && float64(inFlight) >= e.inFlight
	return e
}
