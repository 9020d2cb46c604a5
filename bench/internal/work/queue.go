// Package work is what is called in the programs under bench/: processes on loopback that do virtual work. A worker is
// a slot and its work a timer, so that the capacity of a server is known exactly and the processor is not what runs out;
// all else, the calls, connections and processes, is real, and can be killed, frozen, slowed down and made to fail.
package work

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Load is what work there is in a call, and how much of it can be done at a time.
type Load struct {
	// Workers is how many calls are worked on at a time; others wait in a queue, first come, first served, for ever.
	Workers int
	// Mean is the mean time of a call's work, which is distributed exponentially.
	Mean time.Duration
	// Straggler is how long work takes that straggles, for whatever reason, and Straggling the share that does.
	Straggler  time.Duration
	Straggling float64
	Seed       uint64
}

// Capacity is how many calls a second can be worked on.
func (l Load) Capacity() float64 { return float64(l.Workers) / l.mean() }

// mean is the mean time of a call in seconds, stragglers included.
func (l Load) mean() float64 {
	return (1-l.Straggling)*l.Mean.Seconds() + l.Straggling*l.Straggler.Seconds()
}

// queue is the workers of one server. As of most servers, nobody looks whether the caller still waits.
type queue struct {
	load  Load
	turns chan time.Time // for each idle worker, since when it is
	slow  atomic.Uint64  // float64 bits: all work takes that many times as long

	mu  sync.Mutex
	rng *rand.Rand
}

func newQueue(l Load) *queue {
	q := &queue{load: l, turns: make(chan time.Time, l.Workers), rng: rand.New(rand.NewPCG(l.Seed, 0x776f726b))} //nolint:gosec // the same each time
	for range l.Workers {
		q.turns <- time.Now()
	}
	q.slowDown(1)
	return q
}

func (q *queue) slowDown(times float64) { q.slow.Store(math.Float64bits(times)) }

// work waits for a worker and for its work. Timers are late; for a worker that has more to do its next work has begun
// when the last should have ended, so that this takes nothing from the capacity.
func (q *queue) work() {
	arrived := time.Now()
	begin := <-q.turns
	if begin.Before(arrived) {
		begin = arrived
	}
	end := begin.Add(q.draw())
	time.Sleep(time.Until(end))
	q.turns <- end
}

func (q *queue) draw() time.Duration {
	q.mu.Lock()
	d := time.Duration(q.rng.ExpFloat64() * float64(q.load.Mean))
	if q.rng.Float64() < q.load.Straggling {
		d = q.load.Straggler
	}
	q.mu.Unlock()
	return time.Duration(float64(d) * math.Float64frombits(q.slow.Load()))
}

// chance reports true with probability p.
func (q *queue) chance(p float64) bool {
	if p <= 0 {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.rng.Float64() < p
}
