package kv

import (
	"context"
	"errors"
	"strings"
)

// watchBatch is about how many events one Next returns at most, and how many it looks at while it holds the lock.
const watchBatch = 1024

// Watcher follows the changes of the keys with some prefix, as this member applies them: in order, without a gap and
// without a repetition. It holds nothing and need not be closed. It is for one goroutine at a time.
type Watcher struct {
	m       *Machine
	prefix  string
	begin   uint64 // where it was asked to begin: this member may not be there yet
	after   uint64 // all events up to this revision are seen or not wanted
	next    uint64 // number of the next event, once started
	started bool

	ended <-chan struct{} // closed when nothing is applied any more; nil: never
	why   func() error    // that is so
}

// Watch returns a watcher of the events after a revision of keys that begin with prefix ("": all). List at a revision
// (View, Range) and watch after that to have everything, on another member, too: one that is not there yet gets there first.
func (m *Machine) Watch(prefix string, after uint64) *Watcher {
	return &Watcher{m: m, prefix: prefix, begin: after, after: after}
}

// Next waits until there are events and returns them, those of one revision together. The error is ErrCompacted when
// what comes next is no longer kept by this member (the watcher was slow, began too far back, or the member was brought up
// to date by a snapshot): list again, and watch from there. It is ctx's when that ends first; then nothing is lost, and Next
// can be called again.
func (w *Watcher) Next(ctx context.Context) ([]Event, error) {
	for over := false; ; {
		events, wait, err := w.take()
		if err != nil || len(events) > 0 {
			return events, err
		}
		if over && wait != nil {
			return nil, w.why()
		}
		if wait == nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			continue
		}
		select {
		case <-wait:
		case <-w.ended:
			over = true // once more: something may have come just before
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Revision is the last revision that Next has dealt with. A watch after it goes on where this one is.
func (w *Watcher) Revision() uint64 { return w.after }

// take returns what there is. If there is nothing, wait is closed when that changes; without wait there may be more.
func (w *Watcher) take() (events []Event, wait <-chan struct{}, err error) {
	m := w.m
	m.mu.RLock()
	h := &m.history
	if !w.started {
		n, ok := h.after(w.after)
		if !ok {
			m.mu.RUnlock()
			return nil, nil, w.compacted()
		}
		w.next, w.started = n, true
	}
	if w.next < h.first {
		m.mu.RUnlock()
		return nil, nil, w.compacted()
	}
	seen := 0
	for ; w.next < h.next; w.next++ {
		e := *h.at(w.next)
		if seen >= watchBatch && e.revision != w.after {
			break
		}
		seen++
		w.after = max(w.after, e.revision)
		if e.revision > w.begin && strings.HasPrefix(e.Item.Key, w.prefix) {
			events = append(events, e)
		}
	}
	m.mu.RUnlock()
	if seen > 0 {
		return events, nil, nil
	}
	return nil, w.wait(), nil
}

// wait returns what is closed with the next event, or nil if there is one already.
func (w *Watcher) wait() <-chan struct{} {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.next != w.m.history.next {
		return nil
	}
	w.m.history.waiting = true
	return w.m.history.changed
}

func (w *Watcher) compacted() error {
	return ErrCompacted.With("events after revision %d are no longer kept", w.after)
}

func isCompacted(err error) bool { return errors.Is(err, ErrCompacted) }
