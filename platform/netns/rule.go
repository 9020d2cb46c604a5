package netns

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/internal/fault"
)

const (
	// Platform is the ID of the platform itself: its edges and probes, and what is run outside of the namespaces.
	Platform = "edge"
	// Everyone, in a Rule, is all that have an ID, the Platform included.
	Everyone = "*"
)

// Rule is what becomes of packets on their way from some to others. All rules that match add up: delays are summed, the lowest
// rate holds, and a packet has to survive each loss.
type Rule struct {
	// From and To are IDs, or Everyone.
	From, To []string
	// Both is for packets of the other direction, too.
	Both bool
	// Cut loses every packet.
	Cut bool
	// Loss is the share of packets that are lost, in [0, 1].
	Loss float64
	// Delay is added to each packet, and Jitter up to as much again, uniformly. Packets keep their order.
	Delay, Jitter time.Duration
	// Rate is the most bytes a second, with at most half a second of them waiting (64 KiB at the least); what is more is
	// lost. 0 is no bound.
	Rate int64
	// Refuse answers for the other end that no connection is wanted there: TCP's are refused, packets of others lost.
	Refuse bool
	// Reset ends TCP connections that were made before the rule was set, both ends of each, with the next packet on it;
	// and again after every ResetEvery, if that is not 0.
	Reset      bool
	ResetEvery time.Duration
}

// Rules are those that make of the packets between two sets of IDs what a Shape makes of the connections that the first
// set makes to the second: CutOut is about packets from the first to the second, CutIn about those of the other way, and the
// rest about both.
func Rules(from, to []string, s fault.Shape) []Rule {
	return slices.DeleteFunc([]Rule{
		{From: from, To: to, Cut: s.CutOut, Refuse: s.Refuse},
		{From: to, To: from, Cut: s.CutIn},
		{
			From: from, To: to, Both: true, Loss: s.Loss, Delay: s.Delay, Jitter: s.Jitter, Rate: s.Rate,
			Reset: s.Reset || s.ResetEvery > 0, ResetEvery: s.ResetEvery,
		},
	}, Rule.empty)
}

// Validate says what is wrong with a rule.
func (r Rule) Validate() error {
	var wrong []error
	if len(r.From) == 0 || len(r.To) == 0 {
		wrong = append(wrong, errors.New("it says not from whom to whom"))
	}
	if !(r.Loss >= 0 && r.Loss <= 1) { // also what is no number
		wrong = append(wrong, fmt.Errorf("a loss of %v is not between 0 and 1", r.Loss))
	}
	if r.Delay < 0 || r.Jitter < 0 || r.ResetEvery < 0 || r.Rate < 0 {
		wrong = append(wrong, errors.New("a delay, a time between resets or a rate is negative"))
	}
	return errors.Join(wrong...)
}

// empty reports whether a rule does nothing.
func (r Rule) empty() bool {
	return !r.Cut && r.Loss == 0 && r.Delay == 0 && r.Jitter == 0 && r.Rate == 0 && !r.Refuse && !r.Reset
}

func (r Rule) matches(from, to string) bool {
	return names(r.From, from) && names(r.To, to) || r.Both && names(r.From, to) && names(r.To, from)
}

func names(ids []string, id string) bool {
	return slices.Contains(ids, id) || slices.Contains(ids, Everyone)
}

// effect is all rules for one direction between two ends. The zero value is none.
type effect struct {
	cut, refuse   bool
	kept          float64 // 1 - loss: the share that is not lost; only if lossy
	lossy         bool
	delay, jitter time.Duration
	rate          int64
	resets        time.Time // when connections before it were last to be ended; zero for none
	every         time.Duration
}

// ruleSet is the rules of one name, and since when they are in force.
type ruleSet struct {
	since time.Time
	rules []Rule
}

func effectOf(sets map[string]ruleSet, from, to string) (e effect) {
	for _, set := range sets {
		for _, r := range set.rules {
			if r.matches(from, to) {
				e.add(r, set.since)
			}
		}
	}
	return e
}

// add does not depend on the order in which rules are added.
func (e *effect) add(r Rule, since time.Time) {
	e.cut, e.refuse = e.cut || r.Cut, e.refuse || r.Refuse
	if r.Loss > 0 {
		if !e.lossy {
			e.lossy, e.kept = true, 1
		}
		e.kept *= 1 - r.Loss
	}
	e.delay, e.jitter = e.delay+r.Delay, e.jitter+r.Jitter
	if r.Rate > 0 {
		e.rate = min(cmp.Or(e.rate, r.Rate), r.Rate)
	}
	if r.Reset {
		if since.After(e.resets) {
			e.resets = since
		}
		if r.ResetEvery > 0 {
			e.every = min(cmp.Or(e.every, r.ResetEvery), r.ResetEvery)
		}
	}
}
