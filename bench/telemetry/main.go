// Command telemetry measures what telemetry costs: the same calls with it and without, in one process and in interleaved
// rounds, so that whatever else the machine does meets both alike. A call is a unary echo of 128 bytes over loopback TCP
// with all of Holdfast's defaults. Its client and its server are in this process, and each sees the call; so a call has
// three spans, of the call, of its attempt and of the request.
//
//	go run ./bench/telemetry               # the tables; ends with 1 if a promise is not kept
//	go run ./bench/telemetry -http         # the same over HTTP
//	go run ./bench/telemetry -short        # a few seconds, nothing is judged
//	go run ./bench/telemetry -cpuprofile cpu.out -only on
//
// "off" is without an Observer. "disabled" is what a user gets by OTEL_SDK_DISABLED=true. "on" keeps a tenth of all traces,
// however many these are, and sends them by OTLP to another process, which throws them away; "unsent" is the same without an
// exporter: what is counted, and sent along with each call; "default" has the bound of
// 100 traces a second, as it is without being asked for anything else, and sends likewise; "all" keeps every trace. What
// the sending costs is counted, what the receiving costs is not. "grpc-go" is that alone, and "otelgrpc" with
// OpenTelemetry's own instrumentation and SDK, which likewise keeps and sends a tenth, of two spans a call.
//
// CPU is what the whole process used by getrusage, allocations are those of runtime.MemStats, both for each call, so of
// both sides and of all that goes on beside. Figures are medians over the rounds, comparisons medians of the comparisons of
// neighbouring rounds.
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
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/rounds"
)

type settings struct {
	size        int
	concurrency []int
	rounds      int
	round       time.Duration
	http        bool
	short       bool
	only        string
	cpuProfile  string
	memProfile  string
}

// wants reports whether a way is to be measured.
func (s settings) wants(way string) bool {
	return s.only == "" || slices.Contains(strings.Split(s.only, ","), way)
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == sinkArgument {
		if err := receive(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "telemetry: receiver:", err)
			os.Exit(2)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case err == nil:
		return
	case errors.Is(err, errBroken):
		os.Exit(1)
	case !errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(os.Stderr, "telemetry:", err)
	}
	os.Exit(2)
}

func parse(args []string) (settings, error) {
	var s settings
	var concurrency string
	flags := flag.NewFlagSet("telemetry", flag.ContinueOnError)
	flags.IntVar(&s.size, "size", 128, "bytes of the body")
	flags.StringVar(&concurrency, "c", "1,16,128", "calls at a time, separated by commas")
	flags.IntVar(&s.rounds, "rounds", 9, "rounds of each")
	flags.DurationVar(&s.round, "round", time.Second, "length of a round")
	flags.BoolVar(&s.http, "http", false, "call over HTTP instead of gRPC")
	flags.BoolVar(&s.short, "short", false, "only show that it works: short rounds, nothing is judged")
	flags.StringVar(&s.only, "only", "", "measure just these, separated by commas, such as off,on")
	flags.StringVar(&s.cpuProfile, "cpuprofile", "", "write a CPU profile here")
	flags.StringVar(&s.memProfile, "memprofile", "", "write a profile of allocations here")
	if err := flags.Parse(args); err != nil {
		return s, err //nolint:wrapcheck // flag has written it
	}
	if s.short {
		s.rounds, s.round = min(s.rounds, 1), min(s.round, 200*time.Millisecond)
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
	sink, err := startSink(ctx)
	if err != nil {
		return err
	}
	defer sink.close()
	for name, value := range map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"} {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
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
	protocol := "gRPC"
	if s.http {
		protocol = "HTTP"
	}
	fmt.Fprintf(out, "unary echo of %d B over %s on loopback, %s %s/%s, GOMAXPROCS %d, medians of %d interleaved rounds of %v\n\n",
		s.size, protocol, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), s.rounds, s.round)
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
			kept = judge(out, ways, results) && kept
		}
	}
	if !kept {
		return errBroken
	}
	return nil
}
