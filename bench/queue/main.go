// Command queue measures what package queue adds to the client library of an engine: messages published and confirmed, and
// consumed and settled, by Holdfast with all its defaults and by nats.go, franz-go or amqp091-go doing the same with the
// same durability, in one process, on one engine, in interleaved rounds, so that whatever else the machine does meets both
// alike.
//
//	go run ./bench/queue                                   # the tables; ends with 1 if a promise is not kept
//	go run ./bench/queue -engines nats3 -sizes 128         # a part of it
//	go run ./bench/queue -against raw+attributes           # against a raw client that sends CloudEvents attributes, too
//	go run ./bench/queue -short                            # a few seconds, nothing is judged
//	go run ./bench/queue -engines nats -modes "publish 64" -only holdfast -cpuprofile cpu.out
//
// Each engine runs in processes of its own, on this machine, with the settings of its makers as far as durability goes; NATS as
// `holdfast up` runs it, with an fsync before each confirmation. Figures are medians over the rounds, ratios medians of the ratios of
// neighbouring rounds. Allocations and CPU are those of this process, so of the clients alone, and beside them the CPU of the
// engine.
//
// "raw" sends the body, the key, and an ID; "raw+attributes" the same headers as Holdfast, which are CloudEvents. Both settle
// messages as Holdfast does: on NATS each ack is confirmed, beside the handlers, on Kafka offsets are committed in the
// background, and RabbitMQ confirms no acks. "raw, plain acks" is NATS without their confirmation, which is what its client
// does if not asked otherwise: a message whose ack is lost comes again.
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
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/broker"
	"github.com/holdfast-go/holdfast/bench/internal/rounds"
)

type settings struct {
	engines    []string
	modes      []mode
	sizes      []int
	rounds     int
	round      time.Duration
	messages   int
	only       string
	against    string
	short      bool
	cpuProfile string
	memProfile string
}

func main() {
	broker.Child()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case err == nil:
		return
	case errors.Is(err, errBroken):
		os.Exit(1)
	case !errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(os.Stderr, "queue:", err)
	}
	os.Exit(2)
}

func parse(args []string) (settings, error) {
	var s settings
	var engines, wanted, sizes string
	flags := flag.NewFlagSet("queue", flag.ContinueOnError)
	all := append([]string{broker.Memory}, broker.Kinds...)
	flags.StringVar(&engines, "engines", strings.Join(all, ","), "engines, separated by commas")
	flags.StringVar(&wanted, "modes", "", "what to measure, separated by commas (all)")
	flags.StringVar(&sizes, "sizes", "128,1024", "bytes of a message, separated by commas")
	flags.IntVar(&s.rounds, "rounds", 9, "rounds of each")
	flags.DurationVar(&s.round, "round", time.Second/2, "length of a round in which messages are published")
	flags.IntVar(&s.messages, "messages", 20_000, "messages that are consumed in a round, up to ten times as many of Kafka")
	flags.StringVar(&s.against, "against", rawName, "what the promises are judged against: raw or raw+attributes")
	flags.StringVar(&s.only, "only", "", "measure just this side, such as holdfast")
	flags.BoolVar(&s.short, "short", false, "only show that it works: short rounds, nothing is judged")
	flags.StringVar(&s.cpuProfile, "cpuprofile", "", "write a CPU profile here")
	flags.StringVar(&s.memProfile, "memprofile", "", "write a profile of allocations here")
	if err := flags.Parse(args); err != nil {
		return s, err //nolint:wrapcheck // flag has written it
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("%q: no such argument", flags.Arg(0))
	}
	if s.short {
		s.rounds, s.round, s.messages = 1, min(s.round, 100*time.Millisecond), min(s.messages, 500)
	}
	if s.against != rawName && s.against != rawAttributesName {
		return s, fmt.Errorf("-against %s: neither %s nor %s", s.against, rawName, rawAttributesName)
	}
	for _, word := range words(engines) {
		if !slices.Contains(all, word) {
			return s, fmt.Errorf("-engines %s: %q is none of %s", engines, word, strings.Join(all, ", "))
		}
		s.engines = append(s.engines, word)
	}
	for _, m := range modes {
		if wanted == "" || slices.Contains(words(wanted), m.name) {
			s.modes = append(s.modes, m)
		}
	}
	if n := len(words(wanted)); n > 0 && n != len(s.modes) {
		return s, fmt.Errorf("-modes %s: one of them is none of %s", wanted, modeNames())
	}
	for _, word := range words(sizes) {
		n, err := strconv.Atoi(word)
		if err != nil || n < 8 || n > 1<<20 {
			return s, fmt.Errorf("-sizes %s: %q is not within 8 to %d", sizes, word, 1<<20)
		}
		s.sizes = append(s.sizes, n)
	}
	if s.rounds < 1 || s.round <= 0 || s.messages < 1 {
		return s, errors.New("-rounds, -round and -messages: above 0")
	}
	return s, nil
}

// words returns what stands between commas.
func words(list string) (out []string) {
	for word := range strings.SplitSeq(list, ",") {
		if word = strings.TrimSpace(word); word != "" {
			out = append(out, word)
		}
	}
	return out
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	s, err := parse(args)
	if err != nil {
		return err
	}
	stop, err := rounds.Profile(s.cpuProfile, s.memProfile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	fmt.Fprintf(out, "%s %s/%s, GOMAXPROCS %d, medians of %d interleaved rounds\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), s.rounds)
	kept := true
	for _, kind := range s.engines {
		for _, size := range s.sizes {
			t := table{engine: kind, size: size, against: s.against}
			if err := t.fill(ctx, s); err != nil {
				return fmt.Errorf("%s, %d B, %w", kind, size, err)
			}
			if err := t.print(out); err != nil {
				return err
			}
			if !s.short && s.only == "" {
				kept = t.judge(out) && kept
			}
		}
	}
	if !kept {
		return errBroken
	}
	return nil
}

// fill measures all modes. What slows down with what was there before starts anew for each of them.
func (t *table) fill(ctx context.Context, s settings) error {
	all := func(b *broker.Broker, modes ...mode) error {
		for _, m := range modes {
			results, err := cell(ctx, s, b, t.size, m)
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			t.rows = append(t.rows, row{m, results})
		}
		return nil
	}
	if t.engine == broker.Kafka {
		return engine(ctx, t.engine, false, func(b *broker.Broker) error { return all(b, s.modes...) })
	}
	for _, m := range s.modes {
		if err := engine(ctx, t.engine, m.publishers == 0 && m.rate == 0, func(b *broker.Broker) error { return all(b, m) }); err != nil {
			return err
		}
	}
	return nil
}
