package kafkaqueue

import (
	"cmp"
	"slices"
)

// progress is what is settled of one partition. Offsets come in order, and are settled in any. It decides nothing about
// time and is not safe for concurrent use.
//
// first ≤ every offset that is not settled and was tracked < next.
type progress struct {
	next    int64 // after the last offset that was tracked, or where to begin; -1 is not known yet
	entries []entry
	head    int    // of the first entry that is not settled
	base    uint64 // the number of entries[0]
	open    int    // entries that are not settled
}

type entry struct {
	offset  int64
	settled bool
}

func newProgress() progress { return progress{next: -1} }

// begin says where the partition was left: nothing before offset is to be done.
func (p *progress) begin(offset int64) { p.next = offset }

// track adds an offset and returns its number, false if it came before.
func (p *progress) track(offset int64) (uint64, bool) {
	if p.next >= 0 && offset < p.next {
		return 0, false
	}
	p.next = offset + 1
	p.entries = append(p.entries, entry{offset: offset})
	p.open++
	return p.base + uint64(len(p.entries)) - 1, true
}

// settle reports whether the number was not settled before.
func (p *progress) settle(number uint64) bool {
	i := int(number - p.base) //nolint:gosec // a number that track gave out
	if number < p.base || i >= len(p.entries) || p.entries[i].settled {
		return false
	}
	p.entries[i].settled = true
	p.open--
	for p.head < len(p.entries) && p.entries[p.head].settled {
		p.head++
	}
	switch {
	case p.head == len(p.entries):
		p.base += uint64(p.head)
		p.entries, p.head = p.entries[:0], 0
	case p.head > 1024 && p.head > len(p.entries)/2:
		n := copy(p.entries, p.entries[p.head:])
		p.base += uint64(p.head)
		p.entries, p.head = p.entries[:n], 0
	}
	return true
}

// position returns the first offset that is not settled, -1 if nothing is known.
func (p *progress) position() int64 {
	if p.head < len(p.entries) {
		return p.entries[p.head].offset
	}
	return p.next
}

// ahead returns how many entries there are from position on.
func (p *progress) ahead() int { return len(p.entries) - p.head }

// span is offsets from first to before end.
type span struct{ first, end int64 }

// settled returns what is settled beyond position, in order, at most most spans. What was never tracked between two that
// are settled is in no message: it belongs to them.
func (p *progress) settled(most int) []span {
	var out []span
	rest := p.entries[p.head:]
	for i := 0; i < len(rest); {
		if !rest[i].settled {
			i++
			continue
		}
		s := span{first: rest[i].offset}
		for i < len(rest) && rest[i].settled {
			s.end = rest[i].offset + 1
			i++
		}
		if out = append(out, s); len(out) == most {
			break
		}
	}
	return out
}

// merge returns what is in one of two lists of spans that are in order.
func merge(a, b []span) []span {
	all := append(slices.Clone(a), b...)
	slices.SortFunc(all, func(x, y span) int { return cmp.Compare(x.first, y.first) })
	out := all[:0]
	for _, s := range all {
		if n := len(out); n > 0 && s.first <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, s.end)
			continue
		}
		out = append(out, s)
	}
	return out
}
