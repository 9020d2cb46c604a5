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
		when := intervals(ops)
		if have && appendsOnly(ops) {
			ops, when = narrow(ops, when, end)
		}
		switch porcupine.CheckOperationsTimeout(model(), events(ops, when), limit) {
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
	if !ended || !appendsOnly(ops) {
		return nil
	}
	written := map[string]bool{}
	for _, op := range ops {
		if op.Kind == Append {
			written[op.Value] = true
		}
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

// appendsOnly reports whether nothing but appends changes the key.
func appendsOnly(ops []Op) bool {
	return !slices.ContainsFunc(ops, func(op Op) bool { return op.Kind == Put || op.Kind == CAS })
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

// interval is when an operation may have taken effect.
type interval struct{ from, to time.Duration }

// intervals returns when each operation may have taken effect, by its call and its return, and by the operations that
// it must follow or go before. An operation of unknown outcome may take effect at any time after its call, or never.
func intervals(ops []Op) []interval {
	writer := map[string]time.Duration{} // what is written is unique: a value tells who wrote it
	for _, op := range ops {
		if op.Kind != Get {
			writer[op.Value] = op.Call
		}
	}
	out := make([]interval, len(ops))
	for i, op := range ops {
		v := interval{op.Call, op.Return}
		if op.Outcome == Unknown {
			v.to = math.MaxInt64
		}
		if op.Kind == Get && op.Stale != 0 {
			v.from -= op.Stale
			if op.Stale < 0 {
				v.from = math.MinInt64 / 2
			}
		}
		if op.Kind == Get {
			if at, ok := writer[lastWritten(op.Got)]; ok && at <= v.to { // otherwise nothing explains it: the search says so
				v.from = max(v.from, at)
			}
		}
		out[i] = v
	}
	return out
}

// lastWritten is what was appended last to a value, or the value itself.
func lastWritten(value string) string {
	rest, ok := strings.CutSuffix(value, string(End))
	if !ok {
		return value
	}
	return value[strings.LastIndexByte(rest, End)+1:]
}

func events(ops []Op, when []interval) []porcupine.Operation {
	out := make([]porcupine.Operation, 0, len(ops))
	for i, op := range ops {
		in := &step{op: op, old: of(op.Old), got: of(op.Got), written: of(op.Value), happening: op.Outcome == Unknown}
		out = append(out, porcupine.Operation{ClientId: max(op.Client, 0), Input: in, Call: int64(when[i].from), Return: int64(when[i].to)})
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
		return porcupine.CheckOperationsTimeout(model(), events(part, intervals(part)), limit) == porcupine.Illegal
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
