package queue

import (
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// task is a message in hand.
type task struct {
	m    *driver.Message
	d    *driver.Delivery   // the newest
	same []*driver.Delivery // the same message, delivered before
	lane *lane              // nil without a key

	state    taskState
	gone     bool // not in hand any more; it may still stand in a list
	suspect  bool
	certain  bool   // a suspect that was delivered so often that it is set aside without being handled
	started  bool   // an attempt has begun, ever
	number   int    // of the attempt under way, those elsewhere included
	known    int    // deliveries that ended no process, since this one had them and lives
	tries    int    // attempts that failed here
	counted  int    // those of them that count
	seen     uint64 // successes of others, when the attempt before began to count
	first    error
	last     error
	due      time.Time // of paused
	index    int       // in paused
	bury     string    // why it is to be set aside, "" if it is not
	extended time.Time
	begun    time.Time // of the attempt under way
	warned   bool
}

type taskState int

const (
	queued taskState = iota // behind another of its lane
	ready                   // may begin
	paused                  // until due
	running
)

// deliveries are all that are settled with the task.
func (t *task) deliveries(to []*driver.Delivery) []*driver.Delivery {
	return append(append(to, t.same...), t.d)
}

// lane is the messages of one key, in order of delivery.
type lane struct {
	active *task // ready, running, or (if ordered) paused
	queue  []*task
	paused int // unordered: those that pause and come back to it
}

func revoked(d *driver.Delivery) bool {
	select {
	case <-d.Revoked:
		return true
	default:
		return false
	}
}

// ring is tasks that are ready, first in first out; those that are gone are passed over.
type ring struct {
	list []*task
	head int
}

func (r *ring) push(t *task) {
	if r.head > 64 && r.head > len(r.list)/2 {
		n := copy(r.list, r.list[r.head:])
		clear(r.list[n:])
		r.list, r.head = r.list[:n], 0
	}
	r.list = append(r.list, t)
}

func (r *ring) pop() *task {
	for r.head < len(r.list) {
		t := r.list[r.head]
		r.list[r.head] = nil
		if r.head++; r.head == len(r.list) {
			r.list, r.head = r.list[:0], 0
		}
		if !t.gone {
			return t
		}
	}
	return nil
}

func (r *ring) len() int { return len(r.list) - r.head }

// byDue is a heap.
type byDue []*task

func (h byDue) Len() int           { return len(h) }
func (h byDue) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h byDue) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *byDue) Push(x any) {
	t := x.(*task)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *byDue) Pop() any {
	n := len(*h) - 1
	t := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	return t
}
