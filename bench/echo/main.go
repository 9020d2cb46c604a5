// Command echo measures what Holdfast adds to a call: a unary echo of 128 bytes over loopback TCP, Holdfast's rpc with
// all its defaults (registry, balancer, attempt loop, server interceptors) against bare grpc-go, in one process and in
// interleaved rounds, so that whatever else the machine does meets all of them alike.
//
//	go run ./bench/echo                        # the table
//	go run ./bench/echo -split                 # and each side of Holdfast by itself
//	go run ./bench/echo -cpuprofile cpu.out -only holdfast
//
// Figures are medians over the rounds. CPU and allocations are those of the whole process, so of both sides. "bare" sends
// no deadline, which nobody should do in production; "deadline" is bare grpc-go with context.WithTimeout around each call,
// which is what Holdfast's default deadline has to be compared with.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

type settings struct {
	size        int
	concurrency []int
	rounds      int
	round       time.Duration
	split       bool
	only        string
	cpuProfile  string
	memProfile  string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "echo:", err)
		}
		stop()
		os.Exit(2) //nolint:gocritic // what is deferred is done
	}
}

func parse(args []string) (settings, error) {
	var s settings
	var concurrency string
	flags := flag.NewFlagSet("echo", flag.ContinueOnError)
	flags.IntVar(&s.size, "size", 128, "bytes of the body")
	flags.StringVar(&concurrency, "c", "1,64", "calls at a time, separated by commas")
	flags.IntVar(&s.rounds, "rounds", 7, "rounds of each")
	flags.DurationVar(&s.round, "round", time.Second, "length of a round")
	flags.BoolVar(&s.split, "split", false, "also measure Holdfast's client and server each against bare grpc-go")
	flags.StringVar(&s.only, "only", "", "measure just this one, such as holdfast")
	flags.StringVar(&s.cpuProfile, "cpuprofile", "", "write a CPU profile here")
	flags.StringVar(&s.memProfile, "memprofile", "", "write a profile of allocations here")
	if err := flags.Parse(args); err != nil {
		return s, err //nolint:wrapcheck // flag has written it
	}
	for _, word := range strings.Split(concurrency, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 || n > 10_000 {
			return s, fmt.Errorf("-c %s: %q is not within 1 to 10000", concurrency, word)
		}
		s.concurrency = append(s.concurrency, n)
	}
	if s.rounds < 1 || s.round <= 0 || s.size < 0 {
		return s, errors.New("-rounds, -round and -size: above 0")
	}
	return s, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	ways, closeAll, err := open(ctx, s)
	if err != nil {
		return err
	}
	defer closeAll()
	if s.cpuProfile != "" {
		f, err := os.Create(s.cpuProfile)
		if err != nil {
			return fmt.Errorf("CPU profile: %w", err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return fmt.Errorf("CPU profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	if s.memProfile != "" {
		runtime.MemProfileRate = 1 << 12
		defer writeAllocations(s.memProfile)
	}
	fmt.Fprintf(out, "unary echo of %d B over loopback, %s %s/%s, GOMAXPROCS %d, medians of %d interleaved rounds of %v\n\n",
		s.size, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), s.rounds, s.round)
	for _, c := range s.concurrency {
		results, err := interleave(ctx, ways, s, c)
		if err != nil {
			return err
		}
		if err := table(out, c, ways, results); err != nil {
			return err
		}
	}
	return nil
}

func writeAllocations(path string) {
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "echo: profile of allocations:", err)
	}
}

// table prints the medians, and how they compare with those of the first way.
func table(out io.Writer, c int, ways []way, results [][]result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%d at a time\tcalls/s\tof %s\tp50\tp99\tCPU/call\tallocs/call\textra\tB/call\t\n", c, ways[0].name)
	base := middle(results[0])
	for i, way := range ways {
		m := middle(results[i])
		fmt.Fprintf(w, "%s\t%.0f\t%.2f\t%v\t%v\t%v\t%.1f\t%+.1f\t%.0f\t\n", way.name, m.rate, ratio(results[i], results[0]),
			m.p50.Round(time.Microsecond), m.p99.Round(time.Microsecond), m.cpu.Round(100*time.Nanosecond),
			m.allocs, m.allocs-base.allocs, m.bytes)
	}
	fmt.Fprintln(w)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
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
	}
}

// ratio is the median over the rounds of how their rates compare: neighbours in time are compared with each other.
func ratio(a, b []result) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i].rate / b[i].rate
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

func median[T float64 | time.Duration](rounds []result, of func(result) T) T {
	values := make([]T, len(rounds))
	for i, r := range rounds {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
