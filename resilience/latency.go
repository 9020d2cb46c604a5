package resilience

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/balance"
)

const (
	// window is how long a sample counts at least; at most it is twice that.
	window = 30 * time.Second
	// fresh is how old a summary may be.
	fresh = 100 * time.Millisecond
	// history is the number of samples below which there is nothing to go by.
	history = 32

	// The buckets are log-linear: 8 to an octave, so a quantile is at most an eighth too large, from 2^16 ns (66 µs)
	// to 2^36 ns (69 s). The first and the last take what is beyond.
	subBits   = 3
	minOctave = 16
	maxOctave = 36
	buckets   = (maxOctave-minOctave)<<subBits + 2
)

// Latency is the observed latency of one method over the last 30 to 60 seconds: a histogram in two windows, the older
// of which is dropped when the newer is full. The zero value is empty and ready. Safe for concurrent use; no method
// allocates or blocks. A sample that arrives just as the windows change may be lost.
//
// It is meant for one method of one target. The set of methods has to be bounded by who keeps them.
type Latency struct {
	epoch   atomic.Int64 // of the newer window, which is counts[epoch&1]
	counts  [2][buckets]atomic.Uint32
	at      atomic.Int64  // when summary was made, in nanoseconds; 0: it is out of date
	summary atomic.Uint64 // samples (32 bits), buckets of the median, the 95th and the 99.9th percentile (8 each)
}

// Observe adds a sample: an answer took d, or, with balance.LowerBound, was not waited for any longer than d. The latter
// counts like an answer that took d and is taken into account at once, so that a timeout that has become too short
// for a slow time grows by itself. balance.None adds nothing.
func (l *Latency) Observe(now time.Time, d time.Duration, s balance.Sample) {
	if s == balance.None {
		return
	}
	l.counts[l.turn(now)&1][bucket(d)].Add(1)
	if s == balance.LowerBound {
		l.at.Store(0)
	}
}

// Summary is what a Latency knows.
type Summary struct {
	Samples int
	Median  time.Duration
	P95     time.Duration // the 95th percentile
	P999    time.Duration // the 99.9th percentile, which of fewer than 1,000 samples is the largest
}

// Known reports whether there are enough samples to go by.
func (s Summary) Known() bool { return s.Samples >= history }

// Summary returns what is known at now. It may be 100 ms old. Of no samples it is zero.
func (l *Latency) Summary(now time.Time) Summary {
	nanos := nanos(now)
	if at := l.at.Load(); at == 0 || nanos-at >= int64(fresh) || nanos < at {
		// One of those who come here computes it; the others take the old one.
		if l.at.CompareAndSwap(at, nanos) {
			l.summary.Store(l.summarize(now))
		}
	}
	word := l.summary.Load()
	if word == 0 {
		return Summary{}
	}
	return Summary{
		Samples: int(word >> 32),
		Median:  upper(int(word >> 16 & 0xff)),
		P95:     upper(int(word >> 8 & 0xff)),
		P999:    upper(int(word & 0xff)),
	}
}

func (l *Latency) summarize(now time.Time) uint64 {
	l.turn(now)
	var sum [buckets]uint64
	var total uint64
	for i := range sum {
		sum[i] = uint64(l.counts[0][i].Load()) + uint64(l.counts[1][i].Load())
		total += sum[i]
	}
	if total == 0 {
		return 0
	}
	// The ranks are those of the nearest-rank method: the smallest value that at least this share does not exceed.
	median, p95, p999 := -1, -1, -1
	var seen uint64
	for i, n := range sum {
		seen += n
		if median < 0 && seen*2 >= total {
			median = i
		}
		if p95 < 0 && seen*100 >= total*95 {
			p95 = i
		}
		if seen*1000 >= total*999 {
			p999 = i
			break
		}
	}
	return min(total, 1<<32-1)<<32 | uint64(median)<<16 | uint64(p95)<<8 | uint64(p999)
}

// turn makes the windows those of now and returns the newer one's epoch.
func (l *Latency) turn(now time.Time) int64 {
	e := nanos(now) / int64(window)
	for {
		cur := l.epoch.Load()
		if e == cur || e == cur-1 { // a clock read just before the turn
			return cur
		}
		if !l.epoch.CompareAndSwap(cur, e) {
			continue
		}
		clear := func(i int64) {
			for j := range l.counts[i&1] {
				l.counts[i&1][j].Store(0)
			}
		}
		clear(e)
		if e != cur+1 { // idle for long, or the clock was set
			clear(e - 1)
		}
		l.at.Store(0)
		return e
	}
}

// bucket returns the index of d's bucket.
func bucket(d time.Duration) int {
	if d < 1<<minOctave {
		return 0
	}
	octave := bits.Len64(uint64(d)) - 1
	if octave >= maxOctave {
		return buckets - 1
	}
	sub := int(uint64(d)>>(octave-subBits)) & (1<<subBits - 1)
	return 1 + (octave-minOctave)<<subBits + sub
}

// upper returns the upper bound of a bucket; of the last one, which has none, its lower bound.
func upper(i int) time.Duration {
	if i == buckets-1 {
		return 1 << maxOctave
	}
	octave, sub := i>>subBits+minOctave, i&(1<<subBits-1)
	return time.Duration(uint64(1<<subBits+sub) << (octave - subBits))
}
