// Command balancing compares the policies of package balance where instances differ: half of them are half as fast as the
// others, and every now and then one of them slows down to a third. It is a simulation in virtual time of the package
// itself, event by event; nothing is copied from it.
//
//	go run ./bench/balancing
//	go run ./bench/balancing -seeds 1 -only "200 clients"
//
// 20 instances of 4 workers each do work of 10 ms in the mean, exponentially distributed, and 20 ms every second one.
// About every half second one chosen at random runs at 30 % of its speed for half a second. Calls come at random times,
// 75 % of what all instances can do, from 10 or from 200 clients. A message takes 0.25 ms. "weighted round robin" knows the
// speeds; all other policies find out by themselves.
package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/bench/internal/trial"
)

const (
	roundRobin   = "round robin"
	weighted     = "weighted round robin"
	leastRequest = "least request"
	p2c          = "p2c"
	hcl          = "hcl"
)

// contenders in the order of the report.
var contenders = []struct {
	name   string
	policy string
	knows  bool // the speeds
}{
	{roundRobin, balance.RoundRobin, false},
	{weighted, balance.RoundRobin, true},
	{leastRequest, balance.LeastRequest, false},
	{p2c, balance.P2C, false},
	{hcl, balance.HCL, false},
}

var program = trial.Trial{
	Name:  "balancing",
	About: fmt.Sprintf("%.0f calls/s on %d instances: %.0f %% of what they can do, in virtual time", rate, instances, 100*utilisation),
	Cases: []string{"10 clients", "200 clients"},
	Run:   run,
}

func main() { trial.Main(program) }

func run(ctx context.Context, r *trial.Run) error {
	clients := 10
	if r.Case == "200 clients" {
		clients = 200
	}
	warm, length := r.Long(10*time.Second, time.Second), r.Long(40*time.Second, time.Second)
	took := make([][]time.Duration, len(contenders))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, c := range contenders {
		group.Go(func() error {
			w := newWorld(r.Seed, clients, c.policy, c.knows)
			took[i] = w.run(warm, warm+length)
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("balancing: %w", err)
	}
	p99 := make(map[string]float64)
	for i, c := range contenders {
		slices.Sort(took[i])
		at := func(q float64) float64 {
			return float64(took[i][int(q*float64(len(took[i])-1))]) / float64(time.Millisecond)
		}
		p99[c.name] = at(0.99)
		r.Add(c.name+" p50", at(0.5), trial.Millis, trial.Promise{})
		r.Add(c.name+" p99", at(0.99), trial.Millis, trial.Promise{})
		r.Add(c.name+" p99.9", at(0.999), trial.Millis, trial.Promise{})
	}
	r.Add("p99 of hcl / weighted round robin", p99[hcl]/p99[weighted], trial.Times, trial.AtMost(0.5))
	if clients == 200 {
		r.Add("p99 of hcl / p2c", p99[hcl]/p99[p2c], trial.Times, trial.AtMost(0.35))
	} else {
		r.Add("p99 of hcl / p2c", p99[hcl]/p99[p2c], trial.Times, trial.Promise{})
	}
	return nil
}
