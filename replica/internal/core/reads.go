package core

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// reads holds the reads of this process: those that gather, those of the round under way, those that wait until the
// local state has reached their index. Callers share gathering, under mu; the rest is the loop's, except that a read
// can be taken back everywhere.
type reads struct {
	mu        sync.Mutex
	ended     error
	gathering []*Read
	count     int // all that wait
	held      int // all that are in a list, those that were taken back included
	dead      int // taken back since gathering was cleaned
	max       int

	round   *round       // under way; nil: none
	waiting []*confirmed // wait for the applier

	// fresh is when, on the member's own clock in ns, the newest round began whose index is applied; 0: none yet.
	fresh atomic.Int64
}

// round is the ReadIndexes under way, and the reads that wait for an answer. An answer to an earlier one counts, for the
// reads that there were when it was asked: where a leader is farther away than a round may take until it is asked again,
// nobody would be answered otherwise.
type round struct {
	asks    []ask // those that an answer is taken to, the oldest first; at most maxAsks
	retryAt int64 // own clock, ns
	tries   int
	term    uint64 // and
	lead    uint64 // whom it was asked last
	reads   []*Read
}

// ask is one ReadIndex.
type ask struct {
	number uint64
	began  int64 // own clock, ns
}

// maxAsks bounds the ReadIndexes that an answer is taken to.
const maxAsks = 16

// confirmed is reads that may be let through when the local state has reached index.
type confirmed struct {
	index uint64
	began int64 // of the ReadIndex that was answered
	reads []*Read
}

type readFields struct {
	waits bool   // under reads.mu
	asked uint64 // number of the first ReadIndex whose answer says something of it; 0: it gathers
}

func (t *reads) push(r *Read) (wake bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ended != nil:
		return false, t.ended
	case r.own.waits:
		return false, errInUse
	case t.held >= t.max:
		return false, ErrFull
	}
	r.own = readFields{waits: true}
	t.gathering = append(t.gathering, r)
	t.count++
	t.held++
	return len(t.gathering) == 1, nil
}

// cancel takes a read back. It stays in its list, without effect, until that list is done or has been cleaned: the list
// is remade with a copy, so the caller must not use r again for another read. That is why Read says so.
func (t *reads) cancel(r *Read) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !r.own.waits {
		return false
	}
	r.own.waits = false
	t.count--
	t.dead++
	if len(t.gathering) > 64 && t.dead > len(t.gathering)/2 {
		t.gathering = t.alive(t.gathering)
		t.dead = 0
	}
	return true
}

// clean drops what was taken back, if that is much: the applier may be behind for long, and what waits for it is not
// looked at before. For the loop.
func (t *reads) clean() {
	t.mu.Lock()
	defer t.mu.Unlock()
	dead := t.held - t.count
	if dead == 0 || t.held < t.max && (dead < 64 || dead <= t.held/2) {
		return
	}
	t.gathering, t.dead = t.alive(t.gathering), 0
	if t.round != nil {
		t.round.reads = t.alive(t.round.reads)
	}
	t.waiting = slices.DeleteFunc(t.waiting, func(w *confirmed) bool {
		w.reads = t.alive(w.reads)
		return len(w.reads) == 0
	})
}

// alive returns the reads of a list that still wait. t.mu is held.
func (t *reads) alive(list []*Read) []*Read {
	n := 0
	for _, r := range list {
		if r.own.waits {
			list[n] = r
			n++
		}
	}
	t.held -= len(list) - n
	clear(list[n:])
	return list[:n]
}

// gather takes what waits into a list, behind what is in it already, for the ReadIndex of that number.
func (t *reads) gather(into []*Read, number uint64) []*Read {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(into) == 0 {
		into, t.gathering = t.gathering, into
	} else {
		into = append(into, t.gathering...)
		clear(t.gathering)
		t.gathering = t.gathering[:0]
	}
	t.dead = 0
	into = t.alive(into)
	for i := len(into) - 1; i >= 0 && into[i].own.asked == 0; i-- {
		into[i].own.asked = number
	}
	return into
}

// release lets reads through, or ends them with err. The list is the caller's again.
func (t *reads) release(list []*Read, err error) {
	t.mu.Lock()
	list = t.alive(list)
	for _, r := range list {
		r.own.waits = false
	}
	t.count -= len(list)
	t.held -= len(list)
	t.mu.Unlock()
	for _, r := range list {
		r.Done(err)
	}
}

// idle reports whether nothing gathers.
func (t *reads) idle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.gathering) == 0
}

func (t *reads) load() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count
}

// confirm moves the reads that an answer is for to those that wait for the applier.
func (t *reads) confirm(number, index uint64) {
	r := t.round
	if r == nil {
		return
	}
	at := slices.IndexFunc(r.asks, func(a ask) bool { return a.number == number })
	if at < 0 {
		return // one before it was given up, and asked again
	}
	n := 0
	for n < len(r.reads) && r.reads[n].own.asked <= number {
		n++
	}
	t.waiting = append(t.waiting, &confirmed{index: index, began: r.asks[at].began, reads: r.reads[:n:n]})
	r.asks = slices.Delete(r.asks, 0, at+1)
	if r.reads = r.reads[n:]; len(r.reads) == 0 {
		t.round = nil
	}
}

// applied lets through what the local state has reached.
func (t *reads) applied(index uint64) {
	n := 0
	for _, w := range t.waiting {
		if w.index > index {
			t.waiting[n] = w
			n++
			continue
		}
		if w.began > t.fresh.Load() {
			t.fresh.Store(w.began)
		}
		t.release(w.reads, nil)
	}
	clear(t.waiting[n:])
	t.waiting = t.waiting[:n]
}

func (t *reads) end(err error) {
	t.mu.Lock()
	if t.ended == nil {
		t.ended = err
	}
	all := t.gathering
	t.gathering = nil
	t.mu.Unlock()
	t.fresh.Store(0)
	if t.round != nil {
		all = append(all, t.round.reads...)
		t.round = nil
	}
	for _, w := range t.waiting {
		all = append(all, w.reads...)
	}
	t.waiting = nil
	t.release(all, err)
}

// isFresh: began counts from 1 on, so that 0 is never.
func (t *reads) isFresh(now int64, maxAge time.Duration) bool {
	f := t.fresh.Load()
	return f != 0 && now-f <= int64(maxAge)
}
