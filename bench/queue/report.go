package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// minThroughput is what is promised of Holdfast: of the messages a second of the raw client.
const minThroughput = 0.90

var errBroken = errors.New("a promise was not kept")

// table is what was measured of one engine and one size.
type table struct {
	engine  string
	size    int
	against string
	rows    []row
}

type row struct {
	mode  mode
	sides []sideResults
}

// print prints the medians, and how Holdfast compares with the others.
func (t *table) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s, %d B\t\tmessages/s\tp50\tp99\tCPU/message\tof the engine\tallocs/message\tB/message\tHoldfast of it: messages/s\tCPU\tallocs\t\n", t.engine, t.size)
	for _, r := range t.rows {
		name := r.mode.name
		for _, s := range r.sides {
			m := middle(s.rounds)
			fmt.Fprintf(w, "%s\t%s\t%.0f\t%s\t%s\t%v\t%v\t%.1f\t%.0f\t", name, s.name, m.rate, short(m.p50), short(m.p99),
				m.cpu.Round(100*time.Nanosecond), m.engine.Round(100*time.Nanosecond), m.allocs, m.bytes)
			if h := r.side(holdfastName); s.name != holdfastName && h != nil {
				rate, cpu, allocs := compare(h, s.rounds)
				fmt.Fprintf(w, "%.2f\t%.2fx\t%+.1f\t", rate, cpu, allocs)
			}
			fmt.Fprintln(w)
			name = ""
		}
	}
	fmt.Fprintln(w)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// short prints a latency, or nothing where there is none.
func short(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.Round(time.Microsecond).String()
}

func (r row) side(name string) []result {
	i := slices.IndexFunc(r.sides, func(s sideResults) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return r.sides[i].rounds
}

// judge says whether Holdfast is what was promised of it.
func (t *table) judge(out io.Writer) bool {
	kept := true
	for _, r := range t.rows {
		base, ours := r.side(t.against), r.side(holdfastName)
		if !r.mode.judged() || base == nil || ours == nil {
			continue
		}
		rate, _, _ := compare(ours, base)
		verdict := "kept"
		if rate < minThroughput {
			verdict, kept = "NOT KEPT", false
		}
		fmt.Fprintf(out, "  %s, %d B, %s: %.2f of the messages/s of %s, promised: at least %.2f: %s\n",
			t.engine, t.size, r.mode.name, rate, t.against, minThroughput, verdict)
	}
	fmt.Fprintln(out)
	return kept
}

// compare returns the medians over the rounds of how a compares with b: neighbours in time are compared with each other.
func compare(a, b []result) (rate, cpu, allocs float64) {
	of := func(f func(a, b result) float64) float64 {
		values := make([]float64, len(a))
		for i := range a {
			values[i] = f(a[i], b[i])
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return of(func(a, b result) float64 { return a.rate / b.rate }),
		of(func(a, b result) float64 { return float64(a.cpu) / float64(max(1, b.cpu)) }),
		of(func(a, b result) float64 { return a.allocs - b.allocs })
}

// middle is the median of each figure by itself.
func middle(rounds []result) result {
	return result{
		rate:   median(rounds, func(r result) float64 { return r.rate }),
		p50:    median(rounds, func(r result) time.Duration { return r.p50 }),
		p99:    median(rounds, func(r result) time.Duration { return r.p99 }),
		cpu:    median(rounds, func(r result) time.Duration { return r.cpu }),
		engine: median(rounds, func(r result) time.Duration { return r.engine }),
		allocs: median(rounds, func(r result) float64 { return r.allocs }),
		bytes:  median(rounds, func(r result) float64 { return r.bytes }),
	}
}

func median[T float64 | time.Duration](rounds []result, of func(result) T) T {
	values := make([]T, len(rounds))
	for i, r := range rounds {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
