package linear

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Verdict is what a history comes to.
type Verdict struct {
	Ops        int      // operations that were judged
	Undecided  []string // keys whose search ran out of time
	Violations []Violation
}

// OK reports whether the history is known to be linearizable, with nothing lost and nothing doubled.
func (v Verdict) OK() bool { return len(v.Undecided) == 0 && len(v.Violations) == 0 }

func (v Verdict) String() string {
	if v.OK() {
		return fmt.Sprintf("%d operations: linearizable, nothing lost, nothing doubled", v.Ops)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d operations:", v.Ops)
	for _, x := range v.Violations {
		fmt.Fprintf(&b, "\n%s: key %s: %s", x.Kind, x.Key, x.Detail)
	}
	if len(v.Undecided) > 0 {
		fmt.Fprintf(&b, "\nundecided: keys %s", strings.Join(v.Undecided, ", "))
	}
	return b.String()
}

// Fault is the kind of a violation.
type Fault string

const (
	Lost    Fault = "lost"             // acknowledged, but not in what was read at the end
	Doubled Fault = "doubled"          // appended once, in the value twice
	Foreign Fault = "never written"    // in a value, but written by nobody
	Order   Fault = "not linearizable" // no order explains the answers
)

// Violation is one thing that must not be.
type Violation struct {
	Kind   Fault
	Key    string
	Detail string
}

// Check judges a history. final holds the value of every key, read linearizably after the last operation; nil leaves out
// the check for lost ones (the order is judged all the same). Each key's search may take up to limit of real time.
func Check(ops []Op, final map[string]string, limit time.Duration) Verdict {
	byKey := map[string][]Op{}
	for _, op := range ops {
		if op.Outcome == Refused || op.Kind == Get && op.Outcome != Done {
			continue // without effect, and nobody saw anything
		}
		byKey[op.Key] = append(byKey[op.Key], op)
	}
	var v Verdict
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		ops := byKey[key]
		v.Ops += len(ops)
		end, have := final[key]
		v.Violations = append(v.Violations, appended(key, ops, end, final != nil)...)
		if have {
			last := time.Duration(0)
			for _, op := range ops {
				last = max(last, op.Call)
				if op.Outcome == Done {
					last = max(last, op.Return)
				}
			}
			ops = append(ops, Op{Client: -1, Kind: Get, Key: key, Call: last + 1, Return: last + 2, Outcome: Done, Got: end})
		}
		switch porcupine.CheckOperationsTimeout(model(), events(ops), limit) {
		case porcupine.Unknown:
			v.Undecided = append(v.Undecided, key)
		case porcupine.Ok:
		default: // porcupine.Illegal
			v.Violations = append(v.Violations, Violation{Order, key, "the shortest beginning that nothing explains ends in\n  " + explain(ops, limit)})
		}
	}
	return v
}

// appended checks the appends to a key that nothing else changes against its value at the end.
func appended(key string, ops []Op, final string, ended bool) []Violation {
	var out []Violation
	written := map[string]bool{}
	only := true // nothing but appends changes this key
	for _, op := range ops {
		switch op.Kind {
		case Append:
			written[op.Value] = true
		case Put, CAS:
			only = false
		default: // Get
		}
	}
	if !only || !ended {
		return nil
	}
	there := map[string]bool{}
	for token := range strings.SplitAfterSeq(final, string(End)) {
		switch {
		case token == "":
			continue
		case !written[token]:
			out = append(out, Violation{Foreign, key, short(token)})
		case there[token]:
			out = append(out, Violation{Doubled, key, short(token)})
		}
		there[token] = true
	}
	for _, op := range ops {
		if op.Kind == Append && op.Outcome == Done && !there[op.Value] {
			out = append(out, Violation{Lost, key, op.String()})
		}
	}
	return out
}

// content stands for a value in the search: its length and FNV-1a digest, so that a step costs what it adds.
type content struct {
	length int
	sum    uint64
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func (c content) add(s string) content {
	for i := range len(s) {
		c.sum = (c.sum ^ uint64(s[i])) * fnvPrime
	}
	c.length += len(s)
	return c
}

func of(s string) content { return content{sum: fnvOffset}.add(s) }

// step is an operation as the search sees it.
type step struct {
	op        Op
	old, got  content
	written   content
	happening bool // the outcome is unknown
}

func model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return of("") },
		Step: func(state, input, _ any) (bool, any) {
			now, in := state.(content), input.(*step)
			switch in.op.Kind {
			case Get:
				return now == in.got, now
			case Put:
				return true, in.written
			case Append:
				next := now.add(in.op.Value)
				return in.happening || next.length == in.op.Length, next
			default: // CAS
				next := now
				if now == in.old {
					next = in.written
				}
				return in.happening || in.op.Swapped == (now == in.old), next
			}
		},
		Hash: func(state any) uint64 { return state.(content).sum },
	}
}

// events turns operations into porcupine's. An operation of unknown outcome may take effect at any time after its call,
// or never. But an append without answer that somebody has seen had happened before that read returned, which keeps
// the search short.
func events(ops []Op) []porcupine.Operation {
	seen := map[string]time.Duration{} // appended value → the earliest return of a get that holds it
	only := true
	open := map[string]bool{}
	for _, op := range ops {
		switch {
		case op.Kind == Append && op.Outcome == Unknown:
			open[op.Value] = true
		case op.Kind == Put || op.Kind == CAS:
			only = false
		}
	}
	if only && len(open) > 0 {
		for _, op := range ops {
			if op.Kind != Get {
				continue
			}
			for token := range strings.SplitAfterSeq(op.Got, string(End)) {
				if at, ok := seen[token]; open[token] && (!ok || op.Return < at) {
					seen[token] = op.Return
				}
			}
		}
	}
	out := make([]porcupine.Operation, 0, len(ops))
	for _, op := range ops {
		in := &step{op: op, old: of(op.Old), got: of(op.Got), written: of(op.Value), happening: op.Outcome == Unknown}
		from, to := op.Call, op.Return
		if op.Kind == Get && op.Stale != 0 {
			from -= op.Stale
			if op.Stale < 0 {
				from = math.MinInt64 / 2
			}
		}
		if op.Outcome == Unknown {
			to = math.MaxInt64
			if only && op.Kind == Append {
				if at, ok := seen[op.Value]; ok {
					to = max(at, op.Call)
				}
			}
		}
		out = append(out, porcupine.Operation{ClientId: max(op.Client, 0), Input: in, Call: int64(from), Return: int64(to)})
	}
	return out
}

// explain finds the shortest beginning of a history that is not linearizable, by halving, and returns its last answers.
func explain(ops []Op, limit time.Duration) string {
	ops = slices.Clone(ops)
	slices.SortStableFunc(ops, func(a, b Op) int { return int(min(max(a.Return-b.Return, -1), 1)) })
	bad := func(n int) bool {
		part := slices.Clone(ops[:n])
		for _, later := range ops[n:] { // called before the end of the part, answered after it
			if later.Kind != Get && later.Call <= part[n-1].Return {
				later.Outcome = Unknown
				part = append(part, later)
			}
		}
		return porcupine.CheckOperationsTimeout(model(), events(part), limit) == porcupine.Illegal
	}
	low, high := 0, len(ops) // bad(high), not bad(low)
	for high-low > 1 {
		if mid := (low + high) / 2; bad(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	var lines []string
	for _, op := range ops[max(high-8, 0):high] {
		lines = append(lines, op.String())
	}
	return strings.Join(lines, "\n  ")
}
