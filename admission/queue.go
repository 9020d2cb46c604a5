package admission

import "github.com/holdfast-go/holdfast/resilience"

// ranks is the number of places in the order in which calls are let in: by criticality, and within one criticality first
// attempts before repetitions.
const ranks = 8

// rank returns the place of a call in that order; the highest goes first.
func rank(c resilience.Criticality, attempt int) int {
	r := 2 * int(min(max(c, resilience.Sheddable), resilience.CriticalPlus)-resilience.Sheddable)
	if attempt == 0 {
		r++
	}
	return r
}

// waiter is a call in the queue. Its fields belong to the core.
type waiter struct {
	next, prev *waiter
	list       *list // nil: it is not in the queue
	rank       int
	at         int64 // since when it waits
	deadline   int64 // 0: none
	begun      int64 // admitted
	kind       *kind
	verdict    verdict       // once it is out of the queue
	ready      chan struct{} // of the shell: verdict is there
}

// list is the waiters of one rank, the one that waits longest first.
type list struct {
	first, last *waiter
	n           int
}

func (l *list) push(w *waiter) {
	w.list, w.prev, w.next = l, l.last, nil
	if l.last != nil {
		l.last.next = w
	} else {
		l.first = w
	}
	l.last = w
	l.n++
}

func (l *list) remove(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		l.last = w.prev
	}
	w.list, w.prev, w.next = nil, nil, nil
	l.n--
}

// queue is all waiters. Every list is in the order of arrival.
type queue struct {
	lists [ranks]list
	n     int
}

func (q *queue) push(w *waiter) {
	q.lists[w.rank].push(w)
	q.n++
}

func (q *queue) remove(w *waiter) {
	w.list.remove(w)
	q.n--
}

// take removes and returns the waiter whose turn it is, or nil: of the highest rank the one that waits longest, or with
// newest the one that came last.
func (q *queue) take(newest bool) *waiter {
	for r := ranks - 1; r >= 0; r-- {
		l := &q.lists[r]
		w := l.first
		if newest {
			w = l.last
		}
		if w != nil {
			q.remove(w)
			return w
		}
	}
	return nil
}

// displace removes and returns the waiter to give up for one of rank r: of the lowest rank, if that is lower, the one that
// waits longest.
func (q *queue) displace(r int) *waiter {
	for i := range r {
		if w := q.lists[i].first; w != nil {
			q.remove(w)
			return w
		}
	}
	return nil
}

// oldest returns the waiter of rank r that waits longest, or nil.
func (q *queue) oldest(r int) *waiter { return q.lists[r].first }

// age returns how long the waiter has waited that waits longest.
func (q *queue) age(now int64) int64 {
	age := int64(0)
	for r := range ranks {
		if w := q.lists[r].first; w != nil {
			age = max(age, now-w.at)
		}
	}
	return age
}
