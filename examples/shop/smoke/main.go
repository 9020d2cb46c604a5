// Command smoke breaks a running shop on purpose, with customers in it, and says whether any of them noticed.
//
//	go run ./cmd/holdfast up examples/shop
//	go run ./examples/shop/smoke            some minutes
//	go run ./examples/shop/smoke -short     about a minute
//	go run ./examples/shop/smoke -queue-only   what carries messages, and who publishes and handles them
//
// While customers browse and order at a fixed rate, whatever becomes of their requests before, it kills instances of every
// service, the leaders of what they keep among them, and members of the control plane, one after the other, freezes
// instances, restarts every service, and at last freezes the whole control plane and kills instances meanwhile. Then it
// counts: failed requests, acknowledged orders that are missing, orders and charges that are doubled, stock that is gone;
// paid orders that were not shipped, or twice, customers who were not told, orders whose payment failed and that stand.
// The exit code is 1 if any of that is not 0.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/examples/shop/internal/audit"
	"github.com/holdfast-go/holdfast/platform/control"
)

type config struct {
	edge    string
	control string
	rate    int // requests a second
	seed    uint64
	short   bool
	queue   bool
	engine  string
}

func main() {
	var cfg config
	flag.StringVar(&cfg.edge, "edge", "http://127.0.0.1:8080", "`URL` of the shop")
	flag.StringVar(&cfg.control, "control", "127.0.0.1:7070", "`ADDR` of the control API")
	flag.IntVar(&cfg.rate, "rate", 100, "requests a second")
	flag.Uint64Var(&cfg.seed, "seed", 0, "what customers do is drawn from this `number`; 0 draws one")
	flag.BoolVar(&cfg.short, "short", false, "a bit of everything, in about a minute")
	flag.BoolVar(&cfg.queue, "queue-only", false, "break only what messages depend on: the control plane, and those who publish and handle them")
	flag.StringVar(&cfg.engine, "queue", "", "`URL` of what carries messages; without it what the system says, which leaves out passwords")
	flag.Parse()
	if flag.NArg() > 0 || cfg.rate < 1 {
		flag.Usage()
		os.Exit(2)
	}
	if cfg.seed == 0 {
		cfg.seed = rand.Uint64() >> 32
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	good, err := run(ctx, cfg)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "smoke:", err)
		os.Exit(1)
	case !good:
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg config) (good bool, err error) {
	api := control.NewClient(cfg.control)
	defer api.Close()
	info, err := api.System(ctx)
	if err != nil {
		return false, err
	}
	if info.State != control.Ready {
		return false, fmt.Errorf("the system is %s: start it and wait until it is ready", info.State)
	}
	fmt.Printf("system %s, seed %d, %d requests/s\n\n", info.System, cfg.seed, cfg.rate)

	if cfg.engine != "" {
		info.Queue = cfg.engine
	}
	record := newRecord()
	crowd, err := newCrowd(ctx, cfg, record)
	if err != nil {
		return false, err
	}
	shopping, leave := context.WithCancel(ctx)
	gone := make(chan struct{})
	go func() { defer close(gone); crowd.run(shopping) }()

	director := &director{api: api, info: info, record: record, short: cfg.short, queue: cfg.queue}
	err = director.run(ctx)
	leave()
	<-gone
	if err != nil {
		return false, errors.Join(err, ctx.Err())
	}
	record.enter("repeats")
	crowd.repeatOpen(ctx, time.Minute)
	found, took, err := audit.Run(ctx, info.Registry, info.Queue, info.Network != "", crowd.book.customers())
	if err != nil {
		return false, fmt.Errorf("audit: %w", err)
	}
	record.settled = took
	return report(os.Stdout, record, director, found), nil
}
