package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/internal/audit"
)

// report prints what happened, and reports whether it was good.
func report(w io.Writer, r *record, d *director, a *audit.Audit) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintln(w)
	printPhases(w, r)
	printAnswers(w, r)

	v := &sheet{w: w}
	fmt.Fprintln(w, "verdict")
	v.zero("failed requests", r.failures)
	frozen := r.duringFreeze()
	v.zero("  of them browsing while the control plane was frozen", frozen[browse][failed])
	v.zero("  of them checkouts while it was frozen", frozen[checkout][failed]+frozen[repeat][failed])
	v.say("checkouts done while it was frozen", "%d", frozen[checkout][fine]+frozen[repeat][fine])
	v.say("lists without stock (shown as unknown)", "%d", r.blanks())
	v.zero("killed instances that did not come back", len(d.gone))
	v.say("checkouts: acknowledged, refused", "%d: %d, %d", a.Checkouts, a.Acknowledged, a.Refused)
	v.say("  of them cancelled, since the payment failed later", "%d", a.Cancelled)
	for _, l := range a.Lists() {
		v.list(l.Name, l.Lines)
	}
	v.say("nothing on its way any more, after the last request", "%v", r.settled.Round(100*time.Millisecond))
	fmt.Fprintf(w, "\ncame back after a kill: %s\n", d.recovered())
	if len(r.examples) > 0 {
		fmt.Fprintf(w, "\nthe first of %d failures:\n", r.failures)
		for _, res := range r.examples {
			fmt.Fprintln(w, " ", res)
		}
	}
	if v.bad {
		fmt.Fprintln(w, "\nFAIL: a customer would have noticed")
	} else {
		fmt.Fprintln(w, "\nPASS: no customer noticed")
	}
	return !v.bad
}

// sheet prints lines of the verdict.
type sheet struct {
	w   io.Writer
	bad bool
}

func (v *sheet) line(mark, name, format string, args ...any) {
	fmt.Fprintf(v.w, "  %-4s %-82s %s\n", mark, name, fmt.Sprintf(format, args...))
}

func (v *sheet) say(name, format string, args ...any) { v.line("", name, format, args...) }

func (v *sheet) check(good bool, name, format string, args ...any) {
	mark := "ok"
	if !good {
		mark, v.bad = "BAD", true
	}
	v.line(mark, name, format, args...)
}

func (v *sheet) zero(name string, n int) { v.check(n == 0, name, "%d", n) }

func (v *sheet) list(name string, wrong []string) {
	v.zero(name, len(wrong))
	for _, line := range wrong[:min(len(wrong), maxExamples)] {
		fmt.Fprintln(v.w, "         ", line)
	}
}

func printPhases(w io.Writer, r *record) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "phase\tkind\trequests\tfailed\tp50\tp99\tmax\t")
	for _, phase := range r.phases {
		for _, group := range []struct {
			name string
			in   func(kind) bool
		}{
			{"browse", func(k kind) bool { return k == browse }},
			{"cart, orders", func(k kind) bool { return k == cart || k == orders }},
			{"checkout", func(k kind) bool { return k == checkout || k == repeat }},
		} {
			var in []result
			bad := 0
			for _, res := range r.results {
				if res.phase != phase || !group.in(res.kind) {
					continue
				}
				in = append(in, res)
				if res.verdict == failed {
					bad++
				}
			}
			if len(in) == 0 {
				continue
			}
			took := times(in)
			fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%v\t%v\t%v\t\n", phase, group.name, len(in), bad,
				ms(quantile(took, .5)), ms(quantile(took, .99)), ms(took[len(took)-1]))
		}
	}
	t.Flush() //nolint:errcheck // nobody to tell that nobody reads
	fmt.Fprintln(w)
}

func ms(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func printAnswers(w io.Writer, r *record) {
	counts := make(map[kind]map[int]int)
	for _, res := range r.results {
		if counts[res.kind] == nil {
			counts[res.kind] = make(map[int]int)
		}
		counts[res.kind][res.status]++
	}
	fmt.Fprintln(w, "answers")
	for _, k := range kinds {
		fmt.Fprintf(w, "  %-9s", k)
		for _, status := range slices.Sorted(maps.Keys(counts[k])) {
			name := fmt.Sprint(status)
			if status == 0 {
				name = "none"
			}
			fmt.Fprintf(w, "  %s: %d", name, counts[k][status])
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
}

// duringFreeze counts what was under way while the control plane was frozen. r.mu is held.
func (r *record) duringFreeze() map[kind]map[verdict]int {
	out := make(map[kind]map[verdict]int)
	for _, k := range kinds {
		out[k] = make(map[verdict]int)
	}
	for _, res := range r.results {
		if !r.frozen.IsZero() && res.end.After(r.frozen) && (r.thawed.IsZero() || res.start.Before(r.thawed)) {
			out[res.kind][res.verdict]++
		}
	}
	return out
}

// blanks counts answers that had to do without the stock. r.mu is held.
func (r *record) blanks() int {
	n := 0
	for _, res := range r.results {
		if res.blank {
			n++
		}
	}
	return n
}
