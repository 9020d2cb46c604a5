package kafkaqueue

import (
	"container/heap"
	"time"
)

// held is a heap of what is not due.
type held []*item

func (h held) Len() int           { return len(h) }
func (h held) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h held) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *held) Push(x any)        { *h = append(*h, x.(*item)) } //nolint:forcetypeassert // container/heap
func (h *held) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return it
}

// hold keeps a delivery until it is due.
func (r *receiver) hold(it *item) {
	heap.Push(&r.held, it)
	if len(r.held) >= maxHeld && !r.resting {
		r.resting = true
		r.client.PauseFetchTopics(r.again)
	}
}

// release moves what is due to what is ready, as far as the window allows, and returns when the next will be, 0 for none
// or none that there is room for.
func (r *receiver) release(now time.Time) time.Duration {
	for len(r.held) > 0 && r.inHand+len(r.ready) < r.s.Window {
		if wait := r.held[0].due.Sub(now); wait > 0 {
			return wait
		}
		it, _ := heap.Pop(&r.held).(*item)
		if !it.p.leaving && !it.p.gone {
			r.ready = append(r.ready, it)
		}
		r.rouse()
	}
	return 0
}

// rouse ends the rest if there is room.
func (r *receiver) rouse() {
	if r.resting && len(r.held) < maxHeld/2 {
		r.resting = false
		r.client.ResumeFetchTopics(r.again)
	}
}
