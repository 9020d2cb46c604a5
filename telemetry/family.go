package telemetry

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// maxHeld bounds what is held of one family until it is known whether it is kept.
const maxHeld = 128

// What was once kept for a reason is kept on for so long, and so many: what goes on for hours is not kept whole because of
// one call.
const (
	keepFor  = time.Second
	keepMany = 128
)

// family is what happened in this process for one request: its span, and the calls and the spans of the user below. Where
// the trace was not chosen from the start, they are held until the request has ended, and written or forgotten together.
type family struct {
	mu      sync.Mutex
	why     reason    // for which it was kept first, although the trace was not chosen
	until   time.Time // it is kept without a further reason, unless
	left    int       // so many more have been
	refused reason    // for which it was to be kept, and there were too many; until then
	over    bool      // the request has ended
	held    []pending
	room    [2]pending // for held

	older, newer *family // of those that hold something; guarded by holding.mu, as is
	listed       bool
}

// pending is a span, or a call with its attempts, that has ended.
type pending interface {
	// write has it sent; why is the family's reason.
	write(why reason)
	// drop forgets it.
	drop()
}

// keepLocked keeps the family for a reason, from now on and for a while, and reports whether it is kept now: there may be
// too many. f.mu is held.
func (f *family) keepLocked(o *observer, now time.Time, why reason) bool {
	if f.left > 0 && now.Before(f.until) {
		return true
	}
	f.left = 0
	if why == keepNot || f.refused != keepNot && f.refused.share() == why.share() && now.Before(f.until) {
		return false
	}
	f.until = now.Add(keepFor)
	if !o.sampler.end(now, why) {
		f.refused = why
		return false
	}
	if f.refused, f.left = keepNot, keepMany; f.why == keepNot {
		f.why = why
	}
	return true
}

// takeLocked returns what is held, which no longer is. f.mu is held.
func (f *family) takeLocked(o *observer) []pending {
	if len(f.held) == 0 {
		return nil
	}
	out := slices.Clone(f.held) // the room is used again
	clear(f.held)
	f.held = nil
	o.held.remove(f, len(out))
	return out
}

// add takes p, which has ended for the reason why, or keepNot.
func (f *family) add(o *observer, now time.Time, p pending, why reason) {
	var before []pending
	f.mu.Lock()
	kept := f.keepLocked(o, now, why)
	first := f.why
	hold := !kept && !f.over && len(f.held) < maxHeld
	switch {
	case kept:
		f.left--
		before = f.takeLocked(o)
	case hold:
		if f.held == nil {
			f.held = f.room[:0]
		}
		f.held = append(f.held, p)
		o.held.add(f)
	}
	f.mu.Unlock()
	for _, b := range before {
		b.write(first)
	}
	switch {
	case kept:
		p.write(first)
	case !hold:
		p.drop()
	default:
		o.held.bound(o)
	}
}

// end ends the family: what comes later is by itself. why is the reason of its request, or keepNot. It returns why it is kept.
func (f *family) end(o *observer, now time.Time, why reason) reason {
	f.mu.Lock()
	if f.why == keepNot {
		f.keepLocked(o, now, why)
	}
	f.over = true
	first, held := f.why, f.takeLocked(o)
	f.mu.Unlock()
	for _, p := range held {
		if first != keepNot {
			p.write(first)
		} else {
			p.drop()
		}
	}
	return first
}

// maxHolding bounds what is held in the whole process. Of a call it is about 1 KiB.
const maxHolding = 16_384

// holding is what all families hold together. The oldest of them gives way.
type holding struct {
	count   atomic.Int64
	dropped atomic.Uint64

	mu             sync.Mutex
	oldest, newest *family
}

// add counts one that f holds. f.mu is held.
func (h *holding) add(f *family) {
	h.count.Add(1)
	if len(f.held) > 1 {
		return // it is listed, or about to be forgotten
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if f.listed {
		return
	}
	if f.listed, f.older, f.newer = true, h.newest, nil; h.newest != nil {
		h.newest.newer = f
	} else {
		h.oldest = f
	}
	h.newest = f
}

// remove uncounts n that f held. f.mu is held.
func (h *holding) remove(f *family, n int) {
	h.count.Add(-int64(n))
	h.mu.Lock()
	h.unlist(f)
	h.mu.Unlock()
}

// unlist takes f from the list. h.mu is held.
func (h *holding) unlist(f *family) {
	if !f.listed {
		return
	}
	if f.older != nil {
		f.older.newer = f.newer
	} else {
		h.oldest = f.newer
	}
	if f.newer != nil {
		f.newer.older = f.older
	} else {
		h.newest = f.older
	}
	f.listed, f.older, f.newer = false, nil, nil
}

// bound has the oldest forget what they hold, where it is too much altogether.
func (h *holding) bound(o *observer) {
	for h.count.Load() > maxHolding {
		h.mu.Lock()
		f := h.oldest
		if f != nil {
			h.unlist(f)
		}
		h.mu.Unlock()
		if f == nil {
			return
		}
		f.mu.Lock()
		held := f.takeLocked(o)
		f.mu.Unlock()
		h.dropped.Add(uint64(len(held)))
		for _, p := range held {
			p.drop()
		}
	}
}

// foreign is a span that the SDK made, in a family.
type foreign struct {
	observer *observer
	span     sdktrace.ReadOnlySpan
}

func (s foreign) write(reason) { s.observer.spans.add(chosenSpan{s.span}) }
func (foreign) drop()          {}

// chosenSpan is a span that was kept for the end of its request: as sampled as any other that is sent.
type chosenSpan struct{ sdktrace.ReadOnlySpan }

// SpanContext implements sdktrace.ReadOnlySpan.
func (s chosenSpan) SpanContext() trace.SpanContext {
	sc := s.ReadOnlySpan.SpanContext()
	return sc.WithTraceFlags(sc.TraceFlags() | trace.FlagsSampled)
}
