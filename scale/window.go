package scale

import "time"

// window is the lowest, or the highest, of the wishes of some time up to now. The zero value is empty. It is a value: what
// adds to it leaves the old one as it was.
//
// It holds only what can still count: a wish is forgotten as soon as a later one is as low (or as high). So they are strictly
// monotone, and as many at most as there are different wishes.
type window struct {
	since time.Time // when the first wish was added, whether it is still there or not
	held  []wished
}

type wished struct {
	at time.Time
	n  int
}

func (w window) lowest(now time.Time, span time.Duration, n int) window {
	return w.add(now, span, n, func(old int) bool { return old < n })
}

func (w window) highest(now time.Time, span time.Duration, n int) window {
	return w.add(now, span, n, func(old int) bool { return old > n })
}

// add adds a wish, and keeps of those before it what is in the span and counts for more.
func (w window) add(now time.Time, span time.Duration, n int, more func(old int) bool) window {
	next := window{since: w.since, held: make([]wished, 0, len(w.held)+1)}
	if w.since.IsZero() {
		next.since = now
	}
	for _, old := range w.held {
		if more(old.n) && now.Sub(old.at) <= span {
			next.held = append(next.held, old)
		}
	}
	next.held = append(next.held, wished{now, n})
	return next
}

// full returns the wish that counts, and whether there have been wishes for the whole span.
func (w window) full(now time.Time, span time.Duration) (n int, ok bool) {
	if len(w.held) == 0 || now.Sub(w.since) < span {
		return 0, false
	}
	return w.held[0].n, true
}
