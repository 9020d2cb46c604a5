package queue

import (
	"fmt"
	"hash/maphash"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// stallAfter is how many messages fail in a row, with no success between, before it is an outage and not poison.
	stallAfter = 5
	// Pauses between probes during an outage.
	probeMin = 200 * time.Millisecond
	probeMax = 5 * time.Second
)

// health is what a subscription knows about whether handling works at all. It is pure: times come from outside.
type health struct {
	successes uint64                 // of all messages, ever
	streak    map[messageID]struct{} // that failed since the last success; more than stallAfter are not kept
	stalled   bool
	probes    int       // that failed
	probeAt   time.Time // the next one is not before
}

var nameSeed = maphash.MakeSeed()

// nameOf is by what messages that fail are told apart: also when they come back, and also those that have no name. The latter
// have what they contain, and when the engine took them, if it says so.
func nameOf(d *driver.Delivery) messageID {
	m := d.Message
	if id := (messageID{m.Source, m.ID}); id.known() {
		return id
	}
	var h maphash.Hash
	h.SetSeed(nameSeed)
	fmt.Fprintf(&h, "%q %q %q %q %d %d ", m.Source, m.ID, m.Type, m.Key, m.Time.UnixNano(), d.Stored.UnixNano())
	_, _ = h.Write(m.Data) // never fails
	return messageID{id: fmt.Sprint(h.Sum64())}
}

// succeeded is told of an attempt that succeeded, and reports whether that ends an outage.
func (h *health) succeeded() bool {
	ended := h.stalled
	h.successes++
	clear(h.streak)
	h.stalled, h.probes = false, 0
	return ended
}

// failed is told of an attempt that failed for another reason than its message. rnd returns a number below n. It reports
// whether an outage begins.
func (h *health) failed(id messageID, now time.Time, rnd func(n int64) int64) bool {
	if h.streak == nil {
		h.streak = make(map[messageID]struct{}, stallAfter)
	}
	if len(h.streak) < stallAfter {
		h.streak[id] = struct{}{}
	}
	begins := !h.stalled && len(h.streak) >= stallAfter
	if begins {
		h.stalled = true
	}
	if h.stalled {
		step := min(probeMax, probeMin<<min(h.probes, 10))
		h.probes++
		h.probeAt = now.Add(step/2 + time.Duration(rnd(int64(step/2)+1)))
	}
	return begins
}
