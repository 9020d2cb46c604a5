package memqueue

import (
	"container/heap"
	"fmt"
	"strconv"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// group is a consumer group. Each of its entries is in exactly one place: fresh, again, delayed, a receiver's mine or a
// receiver's held.
type group struct {
	b           *broker
	topic, name string
	fresh       fifo  // never delivered, by seq
	again       bySeq // given back
	delayed     byDue // given back, for later
	alarm       *time.Timer
	waiting     int              // in fresh, again, delayed and mine
	held        int              // by receivers
	lanes       map[string]*lane // keys that ordered receivers hold
	receivers   map[*receiver]struct{}
	dead        []*stored
}

// lane is a key that a receiver has, on ordered subscriptions.
type lane struct {
	owner *receiver
	n     int // entries of its key that the owner holds or has in mine; the lane ends with 0
}

// entry is a message of a group.
type entry struct {
	*stored
	count int
	due   time.Time
	// now is the delivery under way, nil if there is none; another one that names the entry is lost.
	now     *driver.Delivery
	expires time.Time
}

func (g *group) add(s *stored) {
	g.b.bytes += s.size
	g.waiting++
	g.fresh.push(&entry{stored: s})
	g.wake()
}

func (g *group) wake() {
	for r := range g.receivers {
		r.poke()
	}
}

// next returns the waiting entry of the lowest seq that is due, nil if there is none.
func (g *group) next(now time.Time) *entry {
	for len(g.delayed) > 0 && !g.delayed[0].due.After(now) {
		heap.Push(&g.again, heap.Pop(&g.delayed))
	}
	first := g.fresh.front()
	if len(g.again) > 0 && (first == nil || g.again[0].seq < first.seq) {
		return heap.Pop(&g.again).(*entry)
	}
	if first != nil {
		g.fresh.pop()
	}
	return first
}

// back makes an entry wait again, which is in no place.
func (g *group) back(e *entry, due time.Time) {
	e.now = nil
	e.due = due
	g.waiting++
	if due.IsZero() {
		heap.Push(&g.again, e)
		g.wake()
		return
	}
	heap.Push(&g.delayed, e)
	g.arm()
}

// arm sets the alarm for the first of the delayed entries.
func (g *group) arm() {
	if g.alarm != nil {
		g.alarm.Stop()
		g.alarm = nil
	}
	if len(g.delayed) == 0 || len(g.receivers) == 0 {
		return
	}
	g.alarm = time.AfterFunc(max(time.Until(g.delayed[0].due), 1), func() {
		g.b.mu.Lock()
		defer g.b.mu.Unlock()
		for now := time.Now(); len(g.delayed) > 0 && !g.delayed[0].due.After(now); {
			heap.Push(&g.again, heap.Pop(&g.delayed))
		}
		g.wake()
		g.arm()
	})
}

// settled forgets an entry.
func (g *group) settled(e *entry) {
	e.now = nil
	g.b.bytes -= e.size
}

func (g *group) lag() driver.Lag {
	return driver.Lag{Waiting: int64(g.waiting), Unsettled: int64(g.held), Dead: int64(len(g.dead))}
}

// fifo is entries in order.
type fifo struct {
	list []*entry
	head int
}

func (f *fifo) push(e *entry) {
	if f.head > 1024 && f.head > len(f.list)/2 {
		n := copy(f.list, f.list[f.head:])
		clear(f.list[n:])
		f.list, f.head = f.list[:n], 0
	}
	f.list = append(f.list, e)
}

func (f *fifo) front() *entry {
	if f.head == len(f.list) {
		return nil
	}
	return f.list[f.head]
}

func (f *fifo) pop() {
	f.list[f.head] = nil
	f.head++
	if f.head == len(f.list) {
		f.list, f.head = f.list[:0], 0
	}
}

// bySeq and byDue are heaps.
type bySeq []*entry

func (h bySeq) Len() int           { return len(h) }
func (h bySeq) Less(i, j int) bool { return h[i].seq < h[j].seq }
func (h bySeq) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *bySeq) Push(x any)        { *h = append(*h, x.(*entry)) }
func (h *bySeq) Pop() any          { return pop((*[]*entry)(h)) }

type byDue []*entry

func (h byDue) Len() int           { return len(h) }
func (h byDue) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h byDue) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byDue) Push(x any)        { *h = append(*h, x.(*entry)) }
func (h *byDue) Pop() any          { return pop((*[]*entry)(h)) }

func pop(list *[]*entry) *entry {
	n := len(*list) - 1
	e := (*list)[n]
	(*list)[n] = nil
	*list = (*list)[:n]
	return e
}

func writePosition(seq uint64) string { return strconv.FormatUint(seq, 10) }

func readPosition(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("memqueue: %.40q is no position", s)
	}
	return n, nil
}
