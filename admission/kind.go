package admission

import (
	"math"
	"time"
)

const (
	// maxKinds bounds the kinds of calls that are kept apart.
	maxKinds = 1_000
	// maxKindName bounds their names.
	maxKindName = 256
	// kindSamples is how many calls have to have ended before there is something to go by.
	kindSamples = 20
	// kindFresh is how long an estimate is worth something.
	kindFresh = time.Second
	// kindGain is how much one call moves the estimates: those of a constant time double or halve within 20 calls.
	kindGain = 0.07
)

// kindName tells kinds apart.
type kindName struct{ method, path string }

// kind estimates how long calls of one kind take: the median and the 95th percentile, by a walk that one step up and one
// down keep in balance there, as of late rather than of ever. A nil one
// knows nothing.
type kind struct {
	median, p95 float64 // ns
	samples     int
	at          int64 // of the last sample, or of the kind's beginning
}

// observe adds a call that took d. late: it was given up after d, so what it would have taken is more.
func (k *kind) observe(now int64, d time.Duration, late bool) {
	if k == nil {
		return
	}
	v := math.Max(float64(d), 1)
	if k.samples == 0 {
		if !late {
			k.median, k.p95 = v, 2*v
			k.samples, k.at = 1, now
		}
		return
	}
	gain := kindGain
	if k.samples < kindSamples {
		gain = 4 * kindGain
	}
	moved := false
	step := func(q *float64, p float64) {
		switch {
		case v > *q:
			*q *= 1 + gain*p
			moved = true
		case !late:
			*q *= 1 - gain*(1-p)
			moved = true
		}
	}
	step(&k.median, 0.5)
	step(&k.p95, 0.95)
	k.p95 = math.Max(k.p95, k.median)
	if moved {
		k.samples++
		k.at = now
	}
}

// known reports whether the estimates are worth something.
func (k *kind) known(now int64) bool {
	return k != nil && k.samples >= kindSamples && now-k.at < int64(kindFresh)
}
