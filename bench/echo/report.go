package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// What is promised of "holdfast", at each concurrency.
const (
	minThroughput = 0.90 // of the calls a second
	maxCPU        = 1.15 // times the CPU a call
	maxAllocs     = 5    // more allocations a call
)

var errBroken = errors.New("a promise was not kept")

// table prints the medians, and how they compare with those of bare grpc-go with a deadline, and without.
func table(out io.Writer, c int, ways []way, results [][]result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	var bases []int
	fmt.Fprintf(w, "%d at a time\tcalls/s\tp50\tp99\tCPU/call\tsleeps/call\tallocs/call\tB/call\t", c)
	for _, name := range []string{"deadline", "bare"} {
		if i := slices.IndexFunc(ways, func(w way) bool { return w.name == name }); i >= 0 && len(ways) > 1 {
			bases = append(bases, i)
			fmt.Fprintf(w, "of %s: calls/s\tCPU\tallocs\t", name)
		}
	}
	fmt.Fprintln(w)
	for i, way := range ways {
		m := middle(results[i])
		fmt.Fprintf(w, "%s\t%.0f\t%v\t%v\t%v\t%.2f\t%.1f\t%.0f\t", way.name, m.rate, m.p50.Round(time.Microsecond),
			m.p99.Round(time.Microsecond), m.cpu.Round(100*time.Nanosecond), m.sleeps, m.allocs, m.bytes)
		for _, base := range bases {
			rate, cpu, allocs := compare(results[i], results[base])
			fmt.Fprintf(w, "%.2f\t%.2fx\t%+.1f\t", rate, cpu, allocs)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// judge says whether "holdfast" is what was promised of it, against the way of that name.
func judge(out io.Writer, against string, ways []way, results [][]result) bool {
	find := func(name string) []result {
		return results[slices.IndexFunc(ways, func(w way) bool { return w.name == name })]
	}
	rate, cpu, allocs := compare(find("holdfast"), find(against))
	kept := true
	for _, p := range []struct {
		what    string
		value   float64
		format  string
		promise string
		kept    bool
	}{
		{"throughput of " + against, rate, "%.2f", fmt.Sprintf("at least %.2f", minThroughput), rate >= minThroughput},
		{"CPU of " + against, cpu, "%.2fx", fmt.Sprintf("at most %.2fx", maxCPU), cpu <= maxCPU},
		{"allocations more than " + against, allocs, "%+.1f", fmt.Sprintf("at most %+d", maxAllocs), allocs <= maxAllocs+0.5},
	} {
		verdict := "kept"
		if !p.kept {
			verdict, kept = "NOT KEPT", false
		}
		fmt.Fprintf(out, "  %-32s "+p.format+"  promised: %s: %s\n", p.what, p.value, p.promise, verdict)
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
		allocs: median(rounds, func(r result) float64 { return r.allocs }),
		bytes:  median(rounds, func(r result) float64 { return r.bytes }),
		sleeps: median(rounds, func(r result) float64 { return r.sleeps }),
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
