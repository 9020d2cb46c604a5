// Package linear judges what clients of a small key-value store saw: whether one order of all their operations explains
// every answer (linearizability, Herlihy and Wing 1990), found by porcupine's search, and whether something that was
// acknowledged is missing or is there twice.
//
// The store has string values and four operations: put, append, compare-and-swap and get. A get may be allowed to be old
// by a bound: it is then judged as a get that may take effect at any instant from its call less the bound to its
// return, which is what "was current at most that long ago" says.
//
// Appended values must be unique and end in [End]; they are what makes a doubled or lost operation visible for good,
// where the next put would cover it.
package linear

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// End is the last byte of every appended value and stands nowhere else in it.
const End = ';'

// Kind says what an operation does.
type Kind uint8

const (
	Get    Kind = iota // the value of the key, "" if it was never written
	Put                // sets the value
	Append             // adds to the value; answers with the length after it
	CAS                // sets the value if it was Old; answers whether it did
)

func (k Kind) String() string {
	switch k {
	case Get:
		return "get"
	case Put:
		return "put"
	case Append:
		return "append"
	default:
		return "cas"
	}
}

// Outcome says what the client knows at the end.
type Outcome uint8

const (
	Unknown Outcome = iota // it may have happened, or may yet happen
	Done                   // it happened, and the answer is in the operation
	Refused                // it has not happened and never will
)

// Op is one operation of one client. Times count from any instant that is the same for all operations.
type Op struct {
	Client int
	Kind   Kind
	Key    string
	Value  string        // put, append, cas: what was written
	Old    string        // cas: what was expected
	Stale  time.Duration // get: how old the answer may be; negative: any age
	Call   time.Duration
	Return time.Duration // of an operation whose outcome is unknown: no meaning

	Outcome Outcome
	Got     string // get: the value
	Length  int    // append: the length after it in bytes
	Swapped bool   // cas
}

func (o Op) String() string {
	arg := ""
	switch {
	case o.Kind == Put || o.Kind == Append:
		arg = " " + short(o.Value)
	case o.Kind == CAS:
		arg = fmt.Sprintf(" %s→%s", short(o.Old), short(o.Value))
	case o.Stale < 0:
		arg = " (any age)"
	case o.Stale > 0:
		arg = fmt.Sprintf(" (≤ %v old)", o.Stale)
	}
	answer := "?"
	switch o.Outcome {
	case Unknown:
	case Refused:
		answer = "refused"
	case Done:
		switch o.Kind {
		case Get:
			answer = short(o.Got)
		case Append:
			answer = fmt.Sprintf("%d bytes", o.Length)
		case CAS:
			answer = fmt.Sprint(o.Swapped)
		default:
			answer = "ok"
		}
	}
	end := "…"
	if o.Outcome != Unknown {
		end = fmt.Sprintf("%.6f", o.Return.Seconds())
	}
	return fmt.Sprintf("%.6f-%s c%d %s %s%s = %s", o.Call.Seconds(), end, o.Client, o.Kind, o.Key, arg, answer)
}

// short keeps the end of a long value: that is where operations that are near in time differ.
func short(v string) string {
	const most = 40
	if len(v) <= most {
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprintf("(%d)…%q", len(v), v[len(v)-most:])
}

// History collects operations. The zero value is empty and ready; it is safe for concurrent use.
type History struct {
	mu  sync.Mutex
	ops []Op
}

// Begin records that an operation was called and returns the place of its end. Until [History.End] its outcome is unknown.
func (h *History) Begin(op Op) int {
	op.Outcome, op.Return = Unknown, math.MaxInt64
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
	return len(h.ops) - 1
}

// End records an answer for the operation that Begin gave this place.
func (h *History) End(place int, at time.Duration, set func(*Op)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	op := &h.ops[place]
	op.Outcome, op.Return = Done, at
	if set != nil {
		set(op)
	}
}

// Refuse records that the operation has not happened and never will.
func (h *History) Refuse(place int, at time.Duration) {
	h.End(place, at, func(op *Op) { op.Outcome = Refused })
}

// Ops returns a copy of all operations in the order of their calls to Begin.
func (h *History) Ops() []Op {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Op(nil), h.ops...)
}
