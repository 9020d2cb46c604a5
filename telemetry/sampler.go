package telemetry

import (
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// sampler says which new traces are kept whatever comes of them, and how many are kept for their end.
//
// Invariant: of two processes with the same ratio, and within their rates, both keep a trace or neither does: the id decides,
// as it does with the specification's TraceIdRatioBased.
type sampler struct {
	bound   uint64 // ids below it are kept; of 2^63
	parents bool   // whoever called decides, if it has
	late    bool   // calls may be kept for their end
	head    bucket
	joined  bucket // that were chosen elsewhere
	tail    [shares]bucket

	refused [lastReason]atomic.Uint64 // by reason; of keepSampled, new ones
	strange atomic.Uint64             // refused by joined
}

// share is one of the buckets of those that are kept for their end: what happens often does not take from what does not.
type share uint8

const (
	shareFaults share = iota
	shareSlow         // and tried again, and hedged
	shareRefused
	shareMistakes

	shares
)

const (
	// joinedTimes is how many times as many traces are kept that were chosen elsewhere as new ones: a service deep down is
	// called by many, and for one trace often.
	joinedTimes = 10
	// mistakesPart is which part of the others' rate the mistakes of callers have: anybody can make as many as they like.
	mistakesPart = 20
)

func newSampler(cfg Config, env environment) *sampler {
	ratio := cfg.Ratio
	if ratio == 0 {
		ratio = DefaultRatio
	}
	if env.ratioSet {
		ratio = env.ratio
	}
	s := &sampler{parents: true, late: true}
	switch env.sampler {
	case "always_on", "parentbased_always_on":
		ratio = 1
	case "always_off", "parentbased_always_off":
		ratio, s.late = 0, false
	case "traceidratio", "parentbased_traceidratio":
		if !env.ratioSet { // as specified
			ratio = 1
		}
	}
	switch env.sampler {
	case "always_on", "always_off", "traceidratio":
		s.parents = false
	}
	s.bound = uint64(min(max(ratio, 0), 1) * (1 << 63))
	rate := cfg.PerSecond
	if rate == 0 {
		rate = DefaultPerSecond
	}
	s.head, s.joined = newBucket(rate), newBucket(rate*joinedTimes)
	for i := range s.tail {
		s.tail[i] = newBucket(rate)
	}
	if rate > 0 {
		s.tail[shareMistakes] = newBucket(max(rate/mistakesPart, 1))
	}
	return s
}

// begin reports whether a trace that begins is kept.
func (s *sampler) begin(now time.Time, id trace.TraceID) bool {
	if !s.chosen(id) {
		return false
	}
	if !s.head.take(now) {
		s.refused[keepSampled].Add(1)
		return false
	}
	return true
}

// join reports whether a trace is kept that was chosen elsewhere.
func (s *sampler) join(now time.Time) bool {
	if !s.joined.take(now) {
		s.strange.Add(1)
		return false
	}
	return true
}

func (s *sampler) chosen(id trace.TraceID) bool {
	return binary.BigEndian.Uint64(id[8:])>>1 < s.bound
}

// end reports whether a trace may be kept for its end.
func (s *sampler) end(now time.Time, why reason) bool {
	if !s.late {
		return false
	}
	if !s.tail[why.share()].take(now) {
		s.refused[why].Add(1)
		return false
	}
	return true
}

// bucket gives so many a second, and a second's worth at once.
type bucket struct {
	rate float64 // negative: any number

	mu     *sync.Mutex
	tokens float64
	last   time.Time
}

func newBucket(rate int) bucket {
	return bucket{rate: float64(rate), tokens: math.Max(float64(rate), 0), mu: new(sync.Mutex)}
}

// take reports whether there is one more. A now before the last one fills nothing, and takes nothing back: what comes here at
// once does so in no order. So now is the process's own time, always.
func (b *bucket) take(now time.Time) bool {
	if b.rate < 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if d := now.Sub(b.last); b.last.IsZero() || d > 0 {
		if !b.last.IsZero() {
			b.tokens = min(b.tokens+d.Seconds()*b.rate, b.rate)
		}
		b.last = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
