package replica

import (
	"sync"

	"github.com/holdfast-go/holdfast/replica/internal/core"
)

// job is work for the goroutine of an applier: an Apply, or a snapshot to be taken.
type job struct {
	apply    *core.Apply
	snapshot bool
}

// jobs is the queue of an applier. Its length is bounded by what a Member gives out before it hears of an end.
type jobs struct {
	mu     sync.Mutex
	queue  []job
	head   int
	closed bool
	wake   chan struct{} // capacity 1
}

func newJobs() *jobs { return &jobs{wake: make(chan struct{}, 1)} }

func (j *jobs) push(item job) {
	j.mu.Lock()
	j.queue = append(j.queue, item)
	j.mu.Unlock()
	j.signal()
}

func (j *jobs) signal() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// close lets next return false at once: nobody waits for what is left.
func (j *jobs) close() {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.signal()
}

// next returns the next job when there is one; for one goroutine.
func (j *jobs) next() (job, bool) {
	for {
		j.mu.Lock()
		if j.closed {
			j.mu.Unlock()
			return job{}, false
		}
		if j.head < len(j.queue) {
			item := j.queue[j.head]
			j.queue[j.head] = job{}
			if j.head++; j.head == len(j.queue) {
				j.queue, j.head = j.queue[:0], 0
			}
			j.mu.Unlock()
			return item, true
		}
		j.mu.Unlock()
		<-j.wake
	}
}
