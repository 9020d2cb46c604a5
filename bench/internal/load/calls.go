package load

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"google.golang.org/grpc/codes"
)

// Call is what became of one call.
type Call struct {
	// Due is when it was to begin, and Took the time from then until its end.
	Due, Took time.Duration
	// Late is how much later than due it was begun: what that adds to Took is this machine's doing.
	Late  time.Duration
	Class int
	Code  codes.Code
	Err   error
	// Attempts is how many attempts it took, and Hedges how many of them began while another one was under way.
	// Transparent retries of grpc-go count. They are 0 when the client's stats handler is not the recorder.
	Attempts, Hedges int
}

// Calls are calls in the order in which they were due.
type Calls []Call

// Between returns the calls that were due in [from, to).
func (c Calls) Between(from, to time.Duration) Calls {
	by := func(call Call, t time.Duration) int { return cmp.Compare(call.Due, t) }
	i, _ := slices.BinarySearchFunc(c, from, by)
	j, _ := slices.BinarySearchFunc(c, to, by)
	return c[i:max(i, j)]
}

// Of returns the calls of one class.
func (c Calls) Of(class int) Calls {
	var out Calls
	for _, call := range c {
		if call.Class == class {
			out = append(out, call)
		}
	}
	return out
}

// OK returns the calls that succeeded.
func (c Calls) OK() Calls {
	out := make(Calls, 0, len(c))
	for _, call := range c {
		if call.Code == codes.OK {
			out = append(out, call)
		}
	}
	return out
}

// Success returns the share of the calls that succeeded; 1 if there are none.
func (c Calls) Success() float64 {
	if len(c) == 0 {
		return 1
	}
	return float64(len(c.OK())) / float64(len(c))
}

// Failed returns how many did not.
func (c Calls) Failed() int { return len(c) - len(c.OK()) }

// Attempts returns how many attempts a call took on average, those included that were never sent.
func (c Calls) Attempts() float64 { return c.mean(func(call Call) int { return call.Attempts }) }

// Hedges returns how many hedges a call took on average.
func (c Calls) Hedges() float64 { return c.mean(func(call Call) int { return call.Hedges }) }

func (c Calls) mean(of func(Call) int) float64 {
	if len(c) == 0 {
		return 0
	}
	n := 0
	for _, call := range c {
		n += of(call)
	}
	return float64(n) / float64(len(c))
}

// Late returns by how much a call was begun late at the most.
func (c Calls) Late() (most time.Duration) {
	for _, call := range c {
		most = max(most, call.Late)
	}
	return most
}

// Quantile returns the time that a share q of the calls did not exceed, failed ones included; 0 if there are none.
func (c Calls) Quantile(q float64) time.Duration {
	if len(c) == 0 {
		return 0
	}
	took := make([]time.Duration, len(c))
	for i, call := range c {
		took[i] = call.Took
	}
	slices.Sort(took)
	return took[min(len(took)-1, max(0, int(math.Ceil(q*float64(len(took))))-1))]
}

// Settled returns when, from from on, all windows of width w until to satisfy good, as the time since from: 0 if they all
// do, to−from if the last one does not. Windows without a call are good.
func (c Calls) Settled(from, to, w time.Duration, good func(Calls) bool) time.Duration {
	settled := from
	for at := from; at+w <= to; at += w {
		if window := c.Between(at, at+w); len(window) > 0 && !good(window) {
			settled = at + w
		}
	}
	return settled - from
}

// Timeline prints a line a second.
func (c Calls) Timeline(out io.Writer) {
	if len(c) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "s\toffered\tok\tp50\tp99\tattempts\thedges\tlate\tfailed with\t")
	for at := time.Duration(0); at <= c[len(c)-1].Due; at += time.Second {
		s := c.Between(at, at+time.Second)
		ok := s.OK()
		fmt.Fprintf(w, "%.0f\t%d\t%d\t%.1f\t%.1f\t%.2f\t%.2f\t%.0f\t%s\t\n", at.Seconds(), len(s), len(ok),
			ms(ok.Quantile(0.5)), ms(ok.Quantile(0.99)), s.Attempts(), s.Hedges(), ms(s.Late()), s.codes())
	}
	_ = w.Flush() // the next write to out says the same
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (c Calls) codes() string {
	var counts [codes.Unauthenticated + 1]int
	for _, call := range c {
		if call.Code != codes.OK && int(call.Code) < len(counts) {
			counts[call.Code]++
		}
	}
	out := ""
	for code, n := range counts {
		if n > 0 {
			out += fmt.Sprintf(" %d %s", n, codes.Code(code)) //nolint:gosec // 0 to 16
		}
	}
	return out
}
