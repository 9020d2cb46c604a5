package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

var errBroken = errors.New("a promise was not kept")

// promises is what is promised of Holdfast's operations a second, as a ratio to another engine's.
var promises = []struct {
	mode    string
	clients int
	against string
	ratio   float64
}{
	{"put", 1, etcd, 1.0},
	{"put", 64, etcd, 1.5},
	{"put", 256, etcd, 1.7},
	{"put at the leader", 1, etcd, 1.0},
	{"put at the leader", 64, etcd, 1.5},
	{"put at the leader", 256, etcd, 1.7},
	{"linearizable read", 64, etcd, 1.25},
	{"linearizable read", 256, etcd, 1.2},
	{"stale read", 64, bare, 0.85},
	{"stale read", 256, bare, 0.85},
}

// table prints the medians, and how each engine compares with etcd and with a bare call.
func table(out io.Writer, m mode, n int, clusters []*cluster, results [][]result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s, %d at a time\t/s\tp50\tp99\tCPU/op members\tclient\tRSS\tshed/op\t", m.name, n)
	var bases []int
	for _, name := range []string{etcd, bare} {
		if i := find(clusters, name); i >= 0 && len(clusters) > 1 {
			bases = append(bases, i)
			fmt.Fprintf(w, "of %s\t", name)
		}
	}
	fmt.Fprintln(w)
	for i, c := range clusters {
		r := results[i]
		fmt.Fprintf(w, "%s\t%.0f\t%v\t%v\t%v\t%v\t%s\t%.3f\t", c.engine,
			median(r, func(r result) float64 { return r.rate }),
			median(r, func(r result) time.Duration { return r.p50 }).Round(10*time.Microsecond),
			median(r, func(r result) time.Duration { return r.p99 }).Round(10*time.Microsecond),
			median(r, func(r result) time.Duration { return r.members }).Round(100*time.Nanosecond),
			median(r, func(r result) time.Duration { return r.client }).Round(100*time.Nanosecond),
			mebibytes(median(r, func(r result) int64 { return r.rss })),
			median(r, func(r result) float64 { return r.shed }))
		for _, base := range bases {
			fmt.Fprintf(w, "%.2f\t", ratio(r, results[base]))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	return w.Flush() //nolint:wrapcheck // to standard output
}

// judge says whether what is promised of this mode is kept.
func judge(out io.Writer, m mode, n int, clusters []*cluster, results [][]result) bool {
	kept := true
	for _, p := range promises {
		ours, base := find(clusters, holdfast), find(clusters, p.against)
		if p.mode != m.name || p.clients != n || ours < 0 || base < 0 {
			continue
		}
		got, verdict := ratio(results[ours], results[base]), "kept"
		if got < p.ratio {
			verdict, kept = "NOT KEPT", false
		}
		fmt.Fprintf(out, "  %s, %d at a time: %.2f of %s, promised: at least %.2f: %s\n\n", m.name, n, got, p.against, p.ratio, verdict)
	}
	return kept
}

func find(clusters []*cluster, engine string) int {
	return slices.IndexFunc(clusters, func(c *cluster) bool { return c.engine == engine })
}

// ratio is the median over the rounds of how a's operations a second compare with b's: neighbours in time are compared.
func ratio(a, b []result) float64 {
	values := make([]float64, len(a))
	for i := range a {
		values[i] = a[i].rate / b[i].rate
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func median[T float64 | time.Duration | int64](rounds []result, of func(result) T) T {
	values := make([]T, len(rounds))
	for i, r := range rounds {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func mebibytes(n int64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }
