// Package sim runs several members of a replicated group in one goroutine: the very code that ships (core, wal, snap)
// over a simulated network, simulated disks and simulated clocks, with clients whose histories are judged by
// internal/linear. Everything that happens in a run follows from its [Config], above all from its seed: the same seed
// gives the same history, byte for byte.
//
// What is simulated: messages that are lost, late, out of order or doubled, partitions of one and both ways; processes
// that are killed, frozen, or lose their power with what was not synced torn; syncs that fail and disks that are full
// or slow; clocks that run at different rates; members that are removed, added, and brought up to date by snapshots.
//
// What is not: goroutines, the real transport and real files (the tests of package replica and bench/chaos have those),
// bytes that change on the wire or on the disk by themselves, and members that lie.
package sim

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"time"
)

// world is the clock and what is going to happen. One goroutine runs it.
type world struct {
	now   time.Duration
	rng   *rand.Rand
	queue events
	seq   uint64 // events at the same instant happen in the order in which they were planned

	log   io.Writer // each line of the transcript; may be nil
	lines int
	sum   interface {
		io.Writer
		Sum64() uint64
	}
}

func newWorld(seed uint64, log io.Writer) *world {
	return &world{rng: rand.New(rand.NewPCG(seed, 0x686f6c6466617374)), log: log, sum: fnv.New64a()}
}

// after plans fn. What is planned cannot be taken back: fn looks itself whether it still means something.
func (w *world) after(d time.Duration, fn func()) {
	w.seq++
	heap.Push(&w.queue, event{at: w.now + max(d, 0), seq: w.seq, fn: fn})
}

// run lets things happen until the instant end, or until stop says so.
func (w *world) run(end time.Duration, stop func() bool) {
	for len(w.queue) > 0 && w.queue[0].at <= end && !stop() {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.fn()
	}
	if !stop() {
		w.now = max(w.now, end)
	}
}

// note adds a line to the transcript.
func (w *world) note(format string, args ...any) {
	line := fmt.Sprintf("%11.6f  ", w.now.Seconds()) + fmt.Sprintf(format, args...) + "\n"
	w.lines++
	_, _ = io.WriteString(w.sum, line) // a hash takes all
	if w.log != nil {
		_, _ = io.WriteString(w.log, line) // the transcript is for a reader; a run goes on without
	}
}

// chance is true with probability p.
func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

// between returns a duration in [low, high), each decade equally likely: waits differ by orders of magnitude.
func (w *world) between(low, high time.Duration) time.Duration {
	for span := max(low, time.Microsecond) * 10; span < high; span *= 10 {
		if w.chance(0.5) {
			return low + time.Duration(w.rng.Int64N(int64(span-low)))
		}
	}
	return low + time.Duration(w.rng.Int64N(int64(max(high-low, 1))))
}

type event struct {
	at  time.Duration
	seq uint64
	fn  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	old[len(old)-1].fn = nil
	*e = old[:len(old)-1]
	return x
}
