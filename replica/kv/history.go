package kv

import "sort"

// EventType is what happened to a key.
type EventType byte

// The types of events.
const (
	Put    EventType = 1 + iota // it was created or written
	Delete                      // it was deleted
	Expire                      // its time was over
)

// String returns "put", "delete" or "expire".
func (t EventType) String() string {
	switch t {
	case Put:
		return "put"
	case Delete:
		return "delete"
	case Expire:
		return "expire"
	}
	return "unknown"
}

// Event is one change of one key.
type Event struct {
	Type EventType
	// Item is the key as it is since this event; of Delete and Expire, as it was before. Neither it nor its Value may be
	// modified.
	Item *Item

	revision uint64
}

// Revision is the store's revision that the event is part of. A transaction's events share one.
func (e Event) Revision() uint64 { return e.revision }

// eventOverhead is what an event counts in Config.HistoryBytes besides its key and value.
const eventOverhead = 128

// history keeps the last events, of whole revisions, for those who watch. A watch is a position in it, so that slow
// watchers cost nothing; one that is too slow finds its position gone. Its users hold the machine's lock.
type history struct {
	maxEvents int
	maxBytes  int64

	// events is a ring: event number n, of those that are kept (first ≤ n < next), is at n modulo its length.
	events      []Event
	first, next uint64
	bytes       int64
	// compacted is the newest revision of which events may be missing.
	compacted uint64

	waiting bool          // somebody waits for changed to be closed
	changed chan struct{} // closed with the next event, if waiting
	grown   bool          // since the last wake
}

func newHistory(maxEvents int, maxBytes int64) history {
	return history{maxEvents: maxEvents, maxBytes: maxBytes, changed: make(chan struct{})}
}

func (h *history) at(n uint64) *Event { return &h.events[n%uint64(len(h.events))] }

func (h *history) add(e Event) {
	if h.next-h.first == uint64(len(h.events)) {
		h.grow()
	}
	*h.at(h.next) = e
	h.next++
	h.bytes += e.Item.size() + eventOverhead
	h.grown = true
}

// grow doubles the ring. Numbers keep their meaning.
func (h *history) grow() {
	old := h.events
	h.events = make([]Event, max(64, 2*len(old)))
	for n := h.first; n < h.next; n++ {
		*h.at(n) = old[n%uint64(len(old))]
	}
}

// wake tells those who wait, once a command is done, and drops what is too much: whole revisions, never those of this
// command, which so are always seen by whoever keeps up.
func (h *history) wake() {
	if !h.grown {
		return
	}
	h.grown = false
	last := h.at(h.next - 1).revision
	for h.next-h.first > uint64(h.maxEvents) || h.bytes > h.maxBytes { //nolint:gosec // not negative
		e := h.at(h.first)
		if e.revision == last {
			break
		}
		h.compacted = e.revision
		h.bytes -= e.Item.size() + eventOverhead
		*e = Event{}
		h.first++
	}
	h.notify()
}

func (h *history) notify() {
	if h.waiting {
		h.waiting = false
		close(h.changed)
		h.changed = make(chan struct{})
	}
}

// restart forgets all: the state is another one, as of revision.
func (h *history) restart(revision uint64) {
	clear(h.events)
	h.next++ // whoever had seen all has not seen what led here
	h.first, h.bytes, h.compacted = h.next, 0, revision
	h.notify()
}

// after returns the number of the first event after revision; ok is false if events between may be missing.
func (h *history) after(revision uint64) (n uint64, ok bool) {
	if revision < h.compacted {
		return 0, false
	}
	kept := int(h.next - h.first)                                                                   //nolint:gosec // bounded by the ring
	i := sort.Search(kept, func(i int) bool { return h.at(h.first+uint64(i)).revision > revision }) //nolint:gosec // not negative
	return h.first + uint64(i), true                                                                //nolint:gosec // not negative
}
