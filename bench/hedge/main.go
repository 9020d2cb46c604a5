// Command hedge shows what a second attempt is worth, made when an answer takes longer than usual: stragglers no longer set
// the 99th percentile, for one call in twenty more. When everything turns slow, so that every answer takes longer than
// was usual, the second attempts stay within their budget instead of doubling the load.
//
//	go run ./bench/hedge
//	go run ./bench/hedge -only stragglers -seeds 1 -timeline
//
// Ten real server processes with virtual work, a client with all its defaults, and in the first case the same client without
// hedging before it. All times are four times those of the experiment that this repeats, so that the processor of a small
// machine is not what is measured. One answer in 80 is a straggler: with one in 100 it is a toss whether the 99th
// percentile is one.
package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-go/holdfast/bench/internal/load"
	"github.com/holdfast-go/holdfast/bench/internal/trial"
	"github.com/holdfast-go/holdfast/bench/internal/work"
	"github.com/holdfast-go/holdfast/bench/internal/work/workpb"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rpc"
)

const (
	instances   = 10
	utilisation = 0.3
	deadline    = 5 * time.Second
	slower      = 10 // times, when everything turns slow
)

var instance = work.Load{Workers: 4, Mean: 20 * time.Millisecond, Straggler: 400 * time.Millisecond, Straggling: 1.0 / 80}

// rate is the calls a second.
var rate = utilisation * instances * instance.Capacity()

var program = trial.Trial{
	Name: "hedge",
	About: fmt.Sprintf("%.0f calls/s on %d instances: %.0f %% of what they can do (virtual work of %v on %d workers each, one answer in %.0f takes %v)",
		rate, instances, 100*utilisation, instance.Mean, instance.Workers, 1/instance.Straggling, instance.Straggler),
	Cases: []string{"stragglers", "all slow"},
	Run:   run,
}

func main() {
	work.Child()
	trial.Main(program)
}

func run(ctx context.Context, r *trial.Run) error {
	each := instance
	if r.Case == "all slow" {
		each.Workers *= slower // so that it is slowness and not overload that is met
	}
	specs := make([]work.Spec, instances)
	for i := range specs {
		specs[i] = work.Spec{Kind: work.Holdfast, ID: fmt.Sprintf("work-%d", i+1), Load: each}
		specs[i].Load.Seed = r.Seed*100 + uint64(i)
	}
	fleet, err := work.StartFleet(ctx, specs...)
	if err != nil {
		return err
	}
	defer fleet.Close()
	if r.Case == "all slow" {
		return allSlow(ctx, r, fleet)
	}
	return stragglers(ctx, r, fleet)
}

// stragglers compares a client without hedging and one with, one after the other.
func stragglers(ctx context.Context, r *trial.Run, fleet work.Fleet) error {
	warm, length := r.Long(10*time.Second, 300*time.Millisecond), r.Long(30*time.Second, time.Second)
	off, err := offer(ctx, r, fleet, warm+length, resilience.Policy{Hedge: resilience.HedgePolicy{Share: -1}}, nil)
	if err != nil {
		return err
	}
	on, err := offer(ctx, r, fleet, warm+length, resilience.Policy{}, nil)
	if err != nil {
		return err
	}
	off, on = off.Between(warm, warm+length), on.Between(warm, warm+length)
	for _, q := range []struct {
		name string
		q    float64
	}{{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}} {
		r.Add(q.name+" without hedging", millis(off.Quantile(q.q)), trial.Millis, trial.Promise{})
		r.Add(q.name, millis(on.Quantile(q.q)), trial.Millis, trial.Promise{})
	}
	r.Add("p99 lower by", millis(off.Quantile(0.99))/millis(on.Quantile(0.99)), trial.Times, trial.AtLeast(3))
	r.Add("extra attempts", on.Attempts()-1, trial.Share, trial.AtMost(0.055))
	r.Add("failed calls", float64(on.Failed()+off.Failed()), trial.Count, trial.Promise{})
	return nil
}

// allSlow makes all instances ten times slower, all of a sudden.
func allSlow(ctx context.Context, r *trial.Run, fleet work.Fleet) error {
	slow, length := r.Long(20*time.Second, time.Second), r.Long(30*time.Second, time.Second)
	calls, err := offer(ctx, r, fleet, slow+length, resilience.Policy{}, func(ctx context.Context, rec *load.Recorder) error {
		if !rec.Until(ctx, slow) {
			return nil
		}
		return fleet.Set(work.Fault{Slow: slower})
	})
	if err != nil {
		return err
	}
	before, after := calls.Between(slow/2, slow), calls.Between(slow, slow+length)
	r.Add("p50 before", millis(before.Quantile(0.5)), trial.Millis, trial.Promise{})
	r.Add("p50 when slow", millis(after.Quantile(0.5)), trial.Millis, trial.Promise{})
	r.Add("hedges before", before.Hedges(), trial.Share, trial.AtMost(0.055))
	r.Add("hedges when slow", after.Hedges(), trial.Share, trial.AtMost(0.055))
	r.Add("hedges in the worst second", worst(after, load.Calls.Hedges), trial.Share, trial.Promise{})
	r.Add("extra attempts when slow", after.Attempts()-1, trial.Share, trial.AtMost(0.1))
	r.Add("failed calls", float64(after.Failed()), trial.Count, trial.Promise{})
	return nil
}

func worst(calls load.Calls, of func(load.Calls) float64) (most float64) {
	if len(calls) == 0 {
		return 0
	}
	for at := calls[0].Due; at <= calls[len(calls)-1].Due; at += time.Second {
		most = max(most, of(calls.Between(at, at+time.Second)))
	}
	return most
}

// offer makes calls with a new client while beside runs.
func offer(ctx context.Context, r *trial.Run, fleet work.Fleet, length time.Duration, policy resilience.Policy, beside func(context.Context, *load.Recorder) error) (load.Calls, error) {
	rec := new(load.Recorder)
	client, closeClient, err := work.DialStaticWith(rpc.ClientConfig{Policy: policy}, rec, fleet.Addrs()...)
	if err != nil {
		return nil, err
	}
	defer closeClient()
	if err := work.Warm(ctx, client, 2*instances); err != nil {
		return nil, err
	}
	rec.Start()
	g, ctx := errgroup.WithContext(ctx)
	if beside != nil {
		g.Go(func() error { return beside(ctx, rec) })
	}
	var calls load.Calls
	g.Go(func() error {
		calls = rec.Run(ctx, load.Config{For: length, Rate: load.Constant(rate), Seed: r.Seed, Do: func(ctx context.Context, _ int) error {
			ctx, cancel := context.WithTimeout(ctx, deadline)
			defer cancel()
			_, err := client.Do(ctx, &workpb.DoRequest{})
			return err //nolint:wrapcheck // what is measured
		}})
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	r.Calls(calls)
	return calls, nil
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
