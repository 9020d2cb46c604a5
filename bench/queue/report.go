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
			m := rounds.Middle(s.rounds)
			fmt.Fprintf(w, "%s\t%s\t%.0f\t%s\t%s\t%v\t%v\t%.1f\t%.0f\t", name, s.name, m.Rate, short(m.P50), short(m.P99),
				m.CPU.Round(100*time.Nanosecond), m.Engine.Round(100*time.Nanosecond), m.Allocs, m.Bytes)
			if h := r.side(holdfastName); s.name != holdfastName && h != nil {
				rate, cpu, allocs := rounds.Compare(h, s.rounds)
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

func (r row) side(name string) []rounds.Result {
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
		rate, _, _ := rounds.Compare(ours, base)
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
