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

// What is promised, at each concurrency: of "on" against "off", and of "disabled" against "off".
const (
	maxCPU    = 1.08 // times the CPU a call
	maxAllocs = 4    // more allocations a call
	// noise is what allocations beside the calls (timers, the collector's own) may make of a difference of nothing.
	noise = 0.2
)

var errBroken = errors.New("a promise was not kept")

// baseline is the way that one is compared with.
func baseline(name string) string {
	if name == bare || name == rival {
		return bare
	}
	return "off"
}

// table prints the medians, and how each compares with its baseline.
func table(out io.Writer, c int, ways []rounds.Way, results [][]rounds.Result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%d at a time\tcalls/s\tp50\tp99\tCPU/call\tallocs/call\tB/call\t", c)
	if len(ways) > 1 {
		fmt.Fprint(w, "of\tcalls/s\tCPU\tallocs\t")
	}
	fmt.Fprintln(w)
	for i, way := range ways {
		m := rounds.Middle(results[i])
		fmt.Fprintf(w, "%s\t%.0f\t%v\t%v\t%v\t%.1f\t%.0f\t", way.Name, m.Rate, m.P50.Round(time.Microsecond),
			m.P99.Round(time.Microsecond), m.CPU.Round(100*time.Nanosecond), m.Allocs, m.Bytes)
		if base := find(ways, baseline(way.Name)); base >= 0 {
			rate, cpu, allocs := rounds.Compare(results[i], results[base])
			fmt.Fprintf(w, "%s\t%.2f\t%.3fx\t%+.2f\t", baseline(way.Name), rate, cpu, allocs)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// judge says whether what was promised is kept.
func judge(out io.Writer, ways []rounds.Way, results [][]rounds.Result) bool {
	of := func(name string) []rounds.Result { return results[find(ways, name)] }
	_, cpu, allocs := rounds.Compare(of("on"), of("off"))
	_, _, disabled := rounds.Compare(of("disabled"), of("off"))
	kept := true
	for _, p := range []struct {
		what    string
		value   float64
		format  string
		promise string
		kept    bool
	}{
		{"CPU of on, of off", cpu, "%.3fx", fmt.Sprintf("at most %.2fx", maxCPU), cpu <= maxCPU},
		{"allocations of on more than off", allocs, "%+.2f", fmt.Sprintf("at most %+d", maxAllocs), allocs <= maxAllocs+noise},
		{"allocations of disabled more than off", disabled, "%+.2f", "none", disabled <= noise},
	} {
		verdict := "kept"
		if !p.kept {
			verdict, kept = "NOT KEPT", false
		}
		fmt.Fprintf(out, "  %-40s "+p.format+"  promised: %s: %s\n", p.what, p.value, p.promise, verdict)
	}
	fmt.Fprintln(out)
	return kept
}

func find(ways []rounds.Way, name string) int {
	return slices.IndexFunc(ways, func(w rounds.Way) bool { return w.Name == name })
}
