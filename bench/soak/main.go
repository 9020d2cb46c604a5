// Command soak runs a whole system under load for half an hour and watches the memory of every process of it: of the
// services, of the control members, and of `holdfast up` itself, which keeps traces, metrics and logs of all of them.
//
//	go run ./bench/soak                        # 16 minutes of warm-up and 30 that count; ends with 1 if memory grows
//	go run ./bench/soak -for 30m -warm 16m     # shorter; what grows slowly is not found
//	go run ./bench/soak -short                 # 3 minutes, nothing is judged
//	go run ./bench/soak -page soak.html        # where the lines are drawn (default: soak.html)
//
// The load is of customers of the shop: mostly they look at things, fill carts and order again what was ordered before, with
// the same Idempotency-Key, which is the whole way of an order but adds nothing to keep. A few orders are new, one in five seconds:
// these the shop keeps forever, in memory, and the logs of its replicated state until the next snapshot (32 MiB of entries each), which is
// not what is looked for here. With -orders 1 it shows: 4.5 KiB reachable in orders for each, and twice as much resident.
//
// Every answer but one that says yes is a failure; so that nothing is sold out, orders are of what there is most of. It is also a
// failure when less than four fifths of the new orders were taken, or when a process that the system file names was not seen
// in four fifths of the samples: what was not looked at is not flat.
//
// The warm-up is as long as it takes until all that is kept on purpose is full: `holdfast up` keeps a quarter of an hour of metrics,
// and traces and logs up to a number of bytes.
//
// Memory is what the kernel counts: resident, without pages of files (RssAnon), every five seconds; and, of services, what the
// Go runtime says was reachable after its last collection. A process is judged by the slope of each after the warm-up
// (Theil–Sen: the median of the slopes of all pairs, so that single collections do not matter), over the time that was
// watched: growth of more than a tenth of its level, and of more than 12 MiB resident or 6 MiB reachable, is growth.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

type settings struct {
	length, warm time.Duration
	rate         float64
	orders       float64
	dir          string
	holdfast     string
	page         string
	short        bool
}

// sampleEvery is how often memory is read.
const sampleEvery = 5 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case err == nil:
		return
	case errors.Is(err, errGrows):
		os.Exit(1)
	case !errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(os.Stderr, "soak:", err)
	}
	os.Exit(2)
}

func parse(args []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.DurationVar(&s.length, "for", 46*time.Minute, "how long the load lasts")
	flags.DurationVar(&s.warm, "warm", 16*time.Minute, "how much of it is not judged")
	flags.Float64Var(&s.rate, "rate", 60, "requests a second")
	flags.Float64Var(&s.orders, "orders", 0.2, "new orders a second, among them")
	flags.StringVar(&s.dir, "dir", "examples/shop", "where the shop is")
	flags.StringVar(&s.holdfast, "holdfast", "", "the program; default: it is built")
	flags.StringVar(&s.page, "page", "soak.html", "where to draw")
	flags.BoolVar(&s.short, "short", false, "only show that it works: 3 minutes, nothing is judged")
	if err := flags.Parse(args); err != nil {
		return s, err //nolint:wrapcheck // flag has written it
	}
	if s.short {
		s.length, s.warm = min(s.length, 3*time.Minute), min(s.warm, time.Minute)
	}
	if s.warm <= 0 || s.length < s.warm+4*sampleEvery || s.rate <= 0 || s.orders < 0 || s.orders > s.rate {
		return s, errors.New("-for: longer than -warm by 20 s; -rate: above 0; -orders: up to -rate")
	}
	return s, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	sys, err := start(ctx, s, out)
	if err != nil {
		return err
	}
	defer sys.stop()
	fmt.Fprintf(out, "%.0f requests a second for %v, of which %.1f are new orders; the first %v are not judged\n", s.rate, s.length, s.orders, s.warm)
	watched, stopWatch := watch(ctx, sys)
	calls, asked := customers(ctx, s, sys.edge)
	stopWatch()
	lines := <-watched
	if asked != nil {
		return asked
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("broken off: %w", err)
	}
	if len(lines) == 0 {
		return errors.New("nothing is known of memory: this needs the /proc of Linux")
	}
	verdicts := judge(lines, s.warm)
	failed := report(out, s, sys.want, calls, verdicts)
	if err := os.WriteFile(s.page, page(s, lines, verdicts, calls), 0o644); err != nil { //nolint:gosec // for everybody to see
		return fmt.Errorf("draw: %w", err)
	}
	fmt.Fprintf(out, "drawn: %s\n", s.page)
	if failed && !s.short {
		return errGrows
	}
	return nil
}
