package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
)

// maxOperations bounds how much of a counter-example is drawn. The smallest part of a history is far below it.
const maxOperations = 60

// history is a counter-example as it is drawn: one bar an operation, in the order in which they began. The scale is the
// order of beginnings and ends, not time: operations take milliseconds and are seconds apart.
type history struct {
	Key  string
	Keys int // how many others there are operations of
	Bars []bar
	More int    // operations that are not drawn
	Says string // the contradiction in words, if it is of a simple kind
}

// bar is one operation.
type bar struct {
	check.Operation

	From, To float64 // 0 to 1
	Culprit  bool    // it is part of what Says speaks of
}

// What is "writes 3", "reads 3", "reads nothing".
func (b bar) What() string {
	switch {
	case b.Write:
		return "writes " + shownValue(b.Value)
	case b.Ended == 0:
		return "reads, and got no answer"
	case b.Value == "":
		return "reads nothing"
	}
	return "reads " + shownValue(b.Value)
}

// X is where it begins, in percent.
func (b bar) X() string { return pct(b.From) }

// W is its width, in percent.
func (b bar) W() string { return pct(b.To - b.From) }

func shownValue(v string) string {
	if v == "" {
		return `""`
	}
	return clean(v, 64)
}

func newHistory(ops []check.Operation) history {
	ops = slices.SortedStableFunc(slices.Values(ops), func(a, b check.Operation) int {
		return cmp.Or(cmp.Compare(a.Begun, b.Begun), cmp.Compare(a.Client, b.Client))
	})
	h := history{}
	if len(ops) == 0 {
		return h
	}
	h.Key, h.More = clean(ops[0].Key, 128), max(0, len(ops)-maxOperations)
	ops = ops[:len(ops)-h.More]
	var keys []string
	var times []time.Duration
	for _, op := range ops {
		times = append(times, op.Begun)
		if op.Ended > 0 {
			times = append(times, op.Ended)
		}
		if !slices.Contains(keys, op.Key) {
			keys = append(keys, op.Key)
		}
	}
	h.Keys = len(keys) - 1
	slices.Sort(times)
	times = slices.Compact(times)
	rank := func(at time.Duration) float64 {
		i, _ := slices.BinarySearch(times, at)
		return float64(i) / float64(len(times)) // the last one leaves room for those that never ended
	}
	for _, op := range ops {
		b := bar{Operation: op, From: rank(op.Begun), To: 1}
		if op.Ended > 0 {
			b.To = max(rank(op.Ended), b.From)
		}
		h.Bars = append(h.Bars, b)
	}
	h.contradiction()
	return h
}

// contradiction looks for the kinds that can be said in one sentence. Not every violation is one of them.
func (h *history) contradiction() {
	for r := range h.Bars {
		read := h.Bars[r]
		if read.Write || read.Ended == 0 {
			continue
		}
		for n := range h.Bars {
			newer := h.Bars[n]
			if newer.Key != read.Key || newer.Value == read.Value || newer.Ended == 0 || newer.Ended >= read.Begun {
				continue
			}
			// newer had been answered before the read began. If all that wrote what was read had ended before what newer
			// saw or made began, the read is stale; a read is as new as the write that it saw.
			since, saw := newer.Begun, -1
			if !newer.Write {
				if saw = h.onlyWriter(newer.Key, newer.Value); saw < 0 {
					continue
				}
				since = h.Bars[saw].Begun
			}
			if !h.allBefore(read.Key, read.Value, since) {
				continue
			}
			h.Bars[r].Culprit, h.Bars[n].Culprit = true, true
			if saw >= 0 {
				h.Bars[saw].Culprit = true
			}
			h.Says = says(read, newer)
			return
		}
	}
}

func says(read, newer bar) string {
	what := fmt.Sprintf("read %s, which is older", shownValue(read.Value))
	if read.Value == "" {
		what = "read nothing"
	}
	did := "had written"
	if !newer.Write {
		did = "had read"
	}
	who := fmt.Sprintf("client %d", newer.Client)
	if newer.Client == read.Client {
		who = "it"
	}
	return fmt.Sprintf("Client %d %s, although %s %s %s and had its answer %s before that read began.",
		read.Client, what, who, did, shownValue(newer.Value), span(read.Begun-newer.Ended))
}

// onlyWriter is the one operation that wrote the value; -1 if there is none, or several.
func (h *history) onlyWriter(key, value string) int {
	found := -1
	for i, b := range h.Bars {
		if b.Write && b.Key == key && b.Value == value {
			if found >= 0 {
				return -1
			}
			found = i
		}
	}
	return found
}

// allBefore reports whether every write of the value had ended before that time. Nothing is what was there at first. A value
// that no operation here wrote may have come from anywhere, and is not.
func (h *history) allBefore(key, value string, at time.Duration) bool {
	any := value == ""
	for _, b := range h.Bars {
		if !b.Write || b.Key != key || b.Value != value {
			continue
		}
		if b.Ended == 0 || b.Ended >= at {
			return false
		}
		any = true
	}
	return any
}
