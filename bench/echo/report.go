package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/rounds"
)

// What is promised of "holdfast", at each concurrency.
const (
	minThroughput = 0.90 // of the calls a second
	maxCPU        = 1.15 // times the CPU a call
	maxAllocs     = 5    // more allocations a call
)

var errBroken = errors.New("a promise was not kept")

// table prints the medians, and how they compare with those of bare grpc-go with a deadline, and without.
func table(out io.Writer, c int, ways []rounds.Way, results [][]rounds.Result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	var bases []int
	fmt.Fprintf(w, "%d at a time\tcalls/s\tp50\tp99\tCPU/call\tsleeps/call\tallocs/call\tB/call\t", c)
	for _, name := range []string{"deadline", "bare"} {
		if i := slices.IndexFunc(ways, func(w rounds.Way) bool { return w.Name == name }); i >= 0 && len(ways) > 1 {
			bases = append(bases, i)
			fmt.Fprintf(w, "of %s: calls/s\tCPU\tallocs\t", name)
		}
	}
	fmt.Fprintln(w)
	for i, way := range ways {
		m := rounds.Middle(results[i])
		fmt.Fprintf(w, "%s\t%.0f\t%v\t%v\t%v\t%.2f\t%.1f\t%.0f\t", way.Name, m.Rate, m.P50.Round(time.Microsecond),
			m.P99.Round(time.Microsecond), m.CPU.Round(100*time.Nanosecond), m.Sleeps, m.Allocs, m.Bytes)
		for _, base := range bases {
			rate, cpu, allocs := rounds.Compare(results[i], results[base])
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
func judge(out io.Writer, against string, ways []rounds.Way, results [][]rounds.Result) bool {
	find := func(name string) []rounds.Result {
		return results[slices.IndexFunc(ways, func(w rounds.Way) bool { return w.Name == name })]
	}
	rate, cpu, allocs := rounds.Compare(find("holdfast"), find(against))
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
