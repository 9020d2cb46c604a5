package linear_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/internal/linear"
)

const second = time.Second

func done(op linear.Op, from, to int) linear.Op {
	op.Call, op.Return, op.Outcome = time.Duration(from)*second, time.Duration(to)*second, linear.Done
	return op
}

func put(v string) linear.Op  { return linear.Op{Kind: linear.Put, Key: "k", Value: v} }
func read(v string) linear.Op { return linear.Op{Kind: linear.Get, Key: "k", Got: v} }
func add(v string, length int) linear.Op {
	return linear.Op{Kind: linear.Append, Key: "k", Value: v, Length: length}
}

func old(v string, by time.Duration) linear.Op {
	return linear.Op{Kind: linear.Get, Key: "k", Got: v, Stale: by}
}

func swap(from, to string, ok bool) linear.Op {
	return linear.Op{Kind: linear.CAS, Key: "k", Old: from, Value: to, Swapped: ok}
}

func lost(op linear.Op, from int) linear.Op {
	op.Call = time.Duration(from) * second
	return op
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ops   []linear.Op
		final map[string]string
		want  []linear.Fault
	}{
		"in order":                        {ops: []linear.Op{done(put("a"), 1, 2), done(read("a"), 3, 4)}},
		"at once, either way":             {ops: []linear.Op{done(put("a"), 1, 5), done(read(""), 2, 3), done(read("a"), 4, 5)}},
		"back again":                      {ops: []linear.Op{done(put("a"), 1, 5), done(read("a"), 2, 3), done(read(""), 4, 5)}, want: []linear.Fault{linear.Order}},
		"an old answer":                   {ops: []linear.Op{done(put("a"), 1, 2), done(read(""), 3, 4)}, want: []linear.Fault{linear.Order}},
		"old within its bound":            {ops: []linear.Op{done(put("a"), 1, 2), done(old("", 2*second), 3, 4)}},
		"old beyond its bound":            {ops: []linear.Op{done(put("a"), 1, 2), done(old("", 2*second), 5, 6)}, want: []linear.Fault{linear.Order}},
		"of any age":                      {ops: []linear.Op{done(put("a"), 1, 2), done(old("", -1), 50, 60)}},
		"of any age, never written":       {ops: []linear.Op{done(put("a"), 1, 2), done(old("b", -1), 50, 60)}, want: []linear.Fault{linear.Order}},
		"unknown, happened":               {ops: []linear.Op{lost(put("a"), 1), done(read(""), 2, 3), done(read("a"), 4, 5)}},
		"unknown, never happened":         {ops: []linear.Op{lost(put("a"), 1), done(read(""), 2, 3)}},
		"unknown, before it was called":   {ops: []linear.Op{lost(put("a"), 4), done(read("a"), 2, 3)}, want: []linear.Fault{linear.Order}},
		"swapped":                         {ops: []linear.Op{done(put("a"), 1, 2), done(swap("a", "b", true), 3, 4), done(swap("a", "c", false), 5, 6), done(read("b"), 7, 8)}},
		"swapped twice":                   {ops: []linear.Op{done(put("a"), 1, 2), done(swap("a", "b", true), 3, 4), done(swap("a", "c", true), 5, 6)}, want: []linear.Fault{linear.Order}},
		"appended":                        {ops: []linear.Op{done(add("a;", 2), 1, 2), done(add("b;", 4), 3, 4)}, final: map[string]string{"k": "a;b;"}},
		"appended, one lost":              {ops: []linear.Op{done(add("a;", 2), 1, 2), done(add("b;", 4), 3, 4)}, final: map[string]string{"k": "a;"}, want: []linear.Fault{linear.Lost, linear.Order}},
		"appended, all lost":              {ops: []linear.Op{done(add("a;", 2), 1, 2)}, final: map[string]string{}, want: []linear.Fault{linear.Lost}},
		"appended, one twice":             {ops: []linear.Op{done(add("a;", 2), 1, 2), done(add("b;", 4), 3, 4)}, final: map[string]string{"k": "a;b;a;"}, want: []linear.Fault{linear.Doubled, linear.Order}},
		"appended, of nobody":             {ops: []linear.Op{done(add("a;", 2), 1, 2)}, final: map[string]string{"k": "a;x;"}, want: []linear.Fault{linear.Foreign, linear.Order}},
		"append seen, answer outstanding": {ops: []linear.Op{lost(add("a;", 0), 1), done(read("a;"), 2, 3), done(read(""), 4, 5)}, want: []linear.Fault{linear.Order}},
		"append known by a length only":   {ops: []linear.Op{lost(add("a;", 0), 1), done(add("b;", 4), 2, 3)}},
		"refused":                         {ops: []linear.Op{{Kind: linear.Put, Key: "k", Value: "a", Outcome: linear.Refused}, done(read(""), 2, 3)}},
		"refused, and there":              {ops: []linear.Op{{Kind: linear.Put, Key: "k", Value: "a", Outcome: linear.Refused}, done(read("a"), 2, 3)}, want: []linear.Fault{linear.Order}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := linear.Check(test.ops, test.final, 10*time.Second)
			var got []linear.Fault
			for _, x := range v.Violations {
				got = append(got, x.Kind)
			}
			if fmt.Sprint(got) != fmt.Sprint(test.want) || len(v.Undecided) > 0 {
				t.Errorf("want %v, got %s", test.want, v)
			}
			if v.OK() != (len(test.want) == 0) {
				t.Errorf("OK is %v", v.OK())
			}
		})
	}
}

// Whatever a real store answers, however its calls overlap, is linearizable; one answer changed is found.
func TestWhatAStoreAnswersIsLinearizable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var (
			ops   []linear.Op
			value string
			now   time.Duration
			from  = make([]time.Duration, 4) // the end of each client's operation before
		)
		for i := range rapid.IntRange(1, 40).Draw(t, "operations") {
			c := rapid.IntRange(0, len(from)-1).Draw(t, "client")
			now += time.Duration(rapid.IntRange(1, 5).Draw(t, "step"))
			op := linear.Op{Client: c, Key: "k", Outcome: linear.Done}
			op.Call = max(from[c]+1, now-time.Duration(rapid.IntRange(0, 10).Draw(t, "before")))
			op.Call = min(op.Call, now)
			op.Return = now + time.Duration(rapid.IntRange(0, 10).Draw(t, "after"))
			if op.Call <= from[c] {
				continue // this client is still busy
			}
			from[c] = op.Return
			switch op.Kind = linear.Kind(rapid.IntRange(0, 3).Draw(t, "kind")); op.Kind {
			case linear.Get:
				op.Got = value
			case linear.Put:
				op.Value = fmt.Sprintf("p%d", i)
				value = op.Value
			case linear.Append:
				op.Value = fmt.Sprintf("a%d;", i)
				value += op.Value
				op.Length = len(value)
			case linear.CAS:
				op.Old, op.Value = value, fmt.Sprintf("c%d", i)
				if rapid.Bool().Draw(t, "other") {
					op.Old = "other"
				}
				if op.Swapped = op.Old == value; op.Swapped {
					value = op.Value
				}
			}
			if op.Kind != linear.Get && rapid.IntRange(0, 4).Draw(t, "answer lost") == 0 {
				op.Outcome = linear.Unknown
			}
			ops = append(ops, op)
		}
		if v := linear.Check(ops, map[string]string{"k": value}, 10*time.Second); !v.OK() {
			t.Fatal(v)
		}
		if v := linear.Check(ops, map[string]string{"k": value + "?"}, 10*time.Second); v.OK() {
			t.Fatal("a value at the end that nobody wrote was not found")
		}
	})
}

func TestAHistoryKeepsWhatWasNeverAnswered(t *testing.T) {
	t.Parallel()
	var h linear.History
	a, b, c := h.Begin(put("a")), h.Begin(put("b")), h.Begin(read(""))
	h.End(c, 3, func(op *linear.Op) { op.Got = "a" })
	h.Refuse(b, 2)
	ops := h.Ops()
	if ops[a].Outcome != linear.Unknown || ops[b].Outcome != linear.Refused || ops[c].Outcome != linear.Done || ops[c].Got != "a" {
		t.Fatalf("%v", ops)
	}
	if s := fmt.Sprint(ops); !strings.Contains(s, `put k "a" = ?`) || !strings.Contains(s, "refused") {
		t.Error(s)
	}
}

// What is known of a key that is only appended to makes the search short, and changes no verdict.
func TestNarrowingChangesNoVerdict(t *testing.T) {
	t.Parallel()
	right, wrong := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var ops []linear.Op
		value := ""
		for i := range rapid.IntRange(1, 12).Draw(t, "operations") {
			at := time.Duration(10 * i)
			op := linear.Op{
				Client: i, Key: "k", Outcome: linear.Done,
				Call: at - time.Duration(rapid.IntRange(0, 25).Draw(t, "before")), Return: at + time.Duration(rapid.IntRange(0, 25).Draw(t, "after")),
			}
			if rapid.Bool().Draw(t, "read") {
				op.Got = value
				if n := strings.Count(value, ";"); n > 0 && rapid.IntRange(0, 9).Draw(t, "old") == 0 {
					op.Got = strings.Join(strings.SplitAfter(value, ";")[:rapid.IntRange(0, n).Draw(t, "how old")], "")
				}
				op.Stale = time.Duration(rapid.SampledFrom([]int{0, 0, 30, -1}).Draw(t, "bound"))
			} else {
				op.Kind, op.Value = linear.Append, fmt.Sprintf("%d;", i)
				if rapid.IntRange(0, 4).Draw(t, "answer lost") == 0 {
					op.Outcome = linear.Unknown
				}
				if op.Outcome == linear.Done || rapid.Bool().Draw(t, "happened") {
					value += op.Value
				}
				op.Length = len(value)
			}
			ops = append(ops, op)
		}
		order := func(v linear.Verdict) bool {
			return slices.ContainsFunc(v.Violations, func(x linear.Violation) bool { return x.Kind == linear.Order })
		}
		narrow := order(linear.Check(ops, map[string]string{"k": value}, time.Minute))
		end := linear.Op{Key: "k", Got: value, Call: second, Return: second + 1, Outcome: linear.Done}
		if plain := order(linear.Check(append(ops, end), nil, time.Minute)); plain != narrow {
			t.Fatalf("not linearizable: %v, with what is known of appends: %v\n%v", plain, narrow, ops)
		}
		if narrow {
			wrong++
		} else {
			right++
		}
	})
	if right == 0 || wrong == 0 {
		t.Errorf("%d right, %d wrong: nothing is shown", right, wrong)
	}
}
