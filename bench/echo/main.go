// Command echo measures what Holdfast adds to a call: a unary echo of 128 bytes over loopback TCP, Holdfast's rpc with
// all its defaults (registry, balancer, attempt loop with hedges, budget and throttle; admission and the other server
// interceptors) against bare grpc-go, in one process and in interleaved rounds, so that whatever else the machine does
// meets all of them alike.
//
//	go run ./bench/echo                        # the tables; ends with 1 if a promise is not kept
//	go run ./bench/echo -against bare          # the same promises against calls without a deadline
//	go run ./bench/echo -split                 # and each side of Holdfast by itself
//	go run ./bench/echo -short                 # a few seconds, nothing is judged
//	go run ./bench/echo -cpuprofile cpu.out -only holdfast
//
// Figures are medians over the rounds, and ratios medians of the ratios of neighbouring rounds. CPU and allocations are
// those of the whole process, so of both sides.
//
// "bare" sends no deadline, which nobody should do in production and which Holdfast does not offer. "deadline" is bare grpc-go
// with context.WithTimeout around each call. That is the call which Holdfast makes, and so what is promised is judged
// against it: a deadline alone is 15 allocations in grpc-go (a context and a timer on both sides, and the header).
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
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/rounds"
)

type settings struct {
	size        int
	concurrency []int
	rounds      int
	round       time.Duration
	split       bool
	short       bool
	against     string
	only        string
	cpuProfile  string
	memProfile  string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case err == nil:
		return
	case errors.Is(err, errBroken):
		os.Exit(1)
	case !errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(os.Stderr, "echo:", err)
	}
	os.Exit(2)
}

func parse(args []string) (settings, error) {
	var s settings
	var concurrency string
	flags := flag.NewFlagSet("echo", flag.ContinueOnError)
	flags.IntVar(&s.size, "size", 128, "bytes of the body")
	flags.StringVar(&concurrency, "c", "1,16,128", "calls at a time, separated by commas")
	flags.IntVar(&s.rounds, "rounds", 7, "rounds of each")
	flags.DurationVar(&s.round, "round", time.Second, "length of a round")
	flags.BoolVar(&s.split, "split", false, "also measure Holdfast's client and server each against bare grpc-go")
	flags.BoolVar(&s.short, "short", false, "only show that it works: short rounds, nothing is judged")
	flags.StringVar(&s.against, "against", "deadline", "what the promises are judged against: deadline or bare")
	flags.StringVar(&s.only, "only", "", "measure just this one, such as holdfast")
	flags.StringVar(&s.cpuProfile, "cpuprofile", "", "write a CPU profile here")
	flags.StringVar(&s.memProfile, "memprofile", "", "write a profile of allocations here")
	if err := flags.Parse(args); err != nil {
		return s, err //nolint:wrapcheck // flag has written it
	}
	if s.short {
		s.rounds, s.round = min(s.rounds, 1), min(s.round, 200*time.Millisecond)
	}
	if s.against != "deadline" && s.against != "bare" {
		return s, fmt.Errorf("-against %s: neither deadline nor bare", s.against)
	}
	var err error
	if s.concurrency, err = rounds.Concurrency(concurrency); err != nil {
		return s, fmt.Errorf("-c %s: %w", concurrency, err)
	}
	if s.rounds < 1 || s.round <= 0 || s.size < 0 {
		return s, errors.New("-rounds, -round and -size: above 0")
	}
	return s, nil
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	s, err := parse(args)
	if err != nil {
		return err
	}
	ways, closeAll, err := open(ctx, s)
	if err != nil {
		return err
	}
	defer closeAll()
	stop, err := rounds.Profile(s.cpuProfile, s.memProfile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	fmt.Fprintf(out, "unary echo of %d B over loopback, %s %s/%s, GOMAXPROCS %d, medians of %d interleaved rounds of %v\n\n",
		s.size, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), s.rounds, s.round)
	kept, judged := true, !s.short && s.only == ""
	for _, c := range s.concurrency {
		results, err := rounds.Interleave(ctx, ways, c, s.rounds, s.round)
		if err != nil {
			return err
		}
		if err := table(out, c, ways, results); err != nil {
			return err
		}
		if judged {
			kept = judge(out, s.against, ways, results) && kept
		}
	}
	if !kept {
		return errBroken
	}
	return nil
}
