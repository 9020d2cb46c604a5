// Command overload shows what happens at twice the load that a service can bear: it goes on doing nearly all that it can
// do, in good time and what matters most first, and is its old self again when the load drops.
//
//	go run ./bench/overload                          # Holdfast, and bare grpc-go for contrast
//	go run ./bench/overload -only holdfast -seeds 1 -timeline
//
// One real server process with virtual work, so that its capacity is known; it does not know it. Client and server have all
// their defaults. Goodput is what succeeded within the deadline, as a share of the capacity.
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/load"
	"github.com/holdfast-go/holdfast/bench/internal/trial"
	"github.com/holdfast-go/holdfast/bench/internal/work"
	"github.com/holdfast-go/holdfast/bench/internal/work/workpb"
	"github.com/holdfast-go/holdfast/resilience"
)

const deadline = 250 * time.Millisecond

var service = work.Load{Workers: 20, Mean: 20 * time.Millisecond}

// mix is the criticality of the calls, and the share of each.
var mix = []struct {
	resilience.Criticality
	share float64
}{
	{resilience.CriticalPlus, 0.1},
	{resilience.Critical, 0.5},
	{resilience.SheddablePlus, 0.25},
	{resilience.Sheddable, 0.15},
}

var program = trial.Trial{
	Name: "overload",
	About: fmt.Sprintf("twice the capacity of %.0f calls/s is offered (virtual work of %v on %d workers, deadline %v), half of it before and after",
		service.Capacity(), service.Mean, service.Workers, deadline),
	Cases: []string{"holdfast", "bare"},
	Run:   run,
}

func main() {
	work.Child()
	trial.Main(program)
}

// phases is when what happens, since the start.
type phases struct{ warm, over, drop, end time.Duration }

func run(ctx context.Context, r *trial.Run) error {
	at := phases{warm: r.Long(5*time.Second, 300*time.Millisecond)}
	at.over = at.warm + r.Long(10*time.Second, 700*time.Millisecond)
	at.drop = at.over + r.Long(30*time.Second, 1500*time.Millisecond)
	at.end = at.drop + r.Long(15*time.Second, 1500*time.Millisecond)

	spec := work.Spec{Kind: work.Kind(r.Case), ID: "work-1", Load: service}
	spec.Load.Seed = r.Seed
	server, err := work.Start(ctx, spec)
	if err != nil {
		return err
	}
	defer server.Close()
	rec := new(load.Recorder)
	client, closeClient, err := dial(rec, spec.Kind, server.Addr)
	if err != nil {
		return err
	}
	defer closeClient()
	if err := work.Warm(ctx, client, 20); err != nil {
		return err
	}

	shares := make([]float64, len(mix))
	for i, m := range mix {
		shares[i] = m.share
	}
	calls := rec.Run(ctx, load.Config{
		For: at.end, Seed: r.Seed, Classes: shares,
		Rate: func(t time.Duration) float64 {
			if t >= at.over && t < at.drop {
				return 2 * service.Capacity()
			}
			return service.Capacity() / 2
		},
		Do: func(ctx context.Context, class int) error {
			ctx, cancel := context.WithTimeout(resilience.WithCriticality(ctx, mix[class].Criticality), deadline)
			defer cancel()
			_, err := client.Do(ctx, &workpb.DoRequest{})
			return err //nolint:wrapcheck // what is measured
		},
	})
	r.Calls(calls)
	report(r, calls, at)
	return nil
}

func dial(rec *load.Recorder, kind work.Kind, addr string) (workpb.WorkClient, func(), error) {
	if kind == work.Bare {
		client, _, closeClient, err := work.DialBare(rec, addr)
		return client, closeClient, err
	}
	return work.DialStatic(rec, addr)
}

func report(r *trial.Run, calls load.Calls, at phases) {
	promise := func(p trial.Promise) trial.Promise {
		if r.Case == string(work.Bare) {
			return trial.Promise{}
		}
		return p
	}
	before, over := calls.Between(at.warm, at.over).OK(), calls.Between(at.over, at.drop)
	good := over.OK()
	r.Add("goodput", float64(len(good))/(at.drop-at.over).Seconds()/service.Capacity(), trial.Share, promise(trial.AtLeast(0.95)))
	r.Add("p99 of successes before", millis(before.Quantile(0.99)), trial.Millis, trial.Promise{})
	r.Add("p99 of successes", millis(good.Quantile(0.99)), trial.Millis, trial.Promise{})
	r.Add("p99 of successes / before", ratio(good.Quantile(0.99), before.Quantile(0.99)), trial.Times, promise(trial.AtMost(2)))
	for i, m := range mix {
		var p trial.Promise
		if i == 0 {
			p = promise(trial.AtLeast(0.99))
		}
		r.Add(m.String()+" served", over.Of(i).Success(), trial.Share, p)
	}
	r.Add(mix[0].String()+" served after the first second", calls.Between(at.over+time.Second, at.drop).Of(0).Success(), trial.Share, trial.Promise{})
	if r.Timeline != nil {
		fmt.Fprintf(r.Timeline, "only %s:\n", mix[0].Criticality)
		calls.Of(0).Timeline(r.Timeline)
	}
	failed := make(load.Calls, 0, len(over))
	for _, c := range over {
		if c.Err != nil {
			failed = append(failed, c)
		}
	}
	r.Add("median time to a refusal", millis(failed.Quantile(0.5)), trial.Millis, trial.Promise{})
	r.Add("attempts a call", over.Attempts(), trial.Times, trial.Promise{})
	// A window of 250 calls, of which the 12th slowest differs by a tenth from one to the next.
	normal := calls.Between(at.warm, at.over).Quantile(0.95)
	settled := calls.Settled(at.drop, at.end, 500*time.Millisecond, func(c load.Calls) bool {
		return c.Success() >= 0.99 && c.Quantile(0.95) <= normal*3/2
	})
	r.Add("normal again after", settled.Seconds(), trial.Seconds, promise(trial.AtMost(2)))
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(max(1, b)) }
