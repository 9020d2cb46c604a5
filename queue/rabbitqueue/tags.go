package rabbitqueue

import "slices"

// tags are the deliveries of one channel that are not settled, by the numbers that the broker gave them: 1, 2, 3 and so on.
// It knows when one acknowledgement can stand for many. It is for one goroutine.
type tags struct {
	low  uint64              // all below are settled
	high uint64              // the last one delivered
	done map[uint64]struct{} // settled ones above low, never low itself
}

// add notes a delivery.
func (t *tags) add(tag uint64) {
	if t.low == 0 {
		t.low = tag
	}
	t.high = tag
}

// open reports whether a delivery is not settled yet.
func (t *tags) open(tag uint64) bool {
	if tag == 0 || tag < t.low || tag > t.high || t.low == 0 {
		return false
	}
	_, settled := t.done[tag]
	return !settled
}

// settle notes one that is settled.
func (t *tags) settle(tag uint64) {
	if !t.open(tag) {
		return
	}
	if t.done == nil {
		t.done = make(map[uint64]struct{})
	}
	t.done[tag] = struct{}{}
	for t.low <= t.high {
		if _, settled := t.done[t.low]; !settled {
			return
		}
		delete(t.done, t.low)
		t.low++
	}
}

// ack settles those of batch that are open and returns how to tell the broker: first of all, if upTo is not 0, that
// everything up to it is acknowledged, then each of single. lost is how many of batch were not open. What is returned never
// includes a delivery that is neither in batch nor settled before.
func (t *tags) ack(batch []uint64) (upTo uint64, single []uint64, lost int) {
	slices.Sort(batch)
	for _, tag := range batch {
		if !t.open(tag) {
			lost++
			continue
		}
		first := t.low
		t.settle(tag)
		if tag == first { // everything below low is settled now, by us or before
			upTo = tag
		} else {
			single = append(single, tag)
		}
	}
	return upTo, single, lost
}
