// Command storm shows that a retry storm does not outlive what set it off. For ten seconds a service that is busy to 80 %
// can do only 0.3 of what it can do otherwise. Clients that try again without a bound, in front of a server that works off its
// queue in order, multiply the load by themselves from then on, and nothing ever gets through again; with Holdfast's
// defaults on both sides it is over when the trigger is.
//
//	go run ./bench/storm
//	go run ./bench/storm -only naive -seeds 1 -timeline
//
// The naive client is what is often written: a timeout around each attempt and three more attempts. That it stays broken
// proves that the storm is one.
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
)

const (
	rate     = 800 // calls a second
	timeout  = 100 * time.Millisecond
	attempts = 4 // of a naive call
	capacity = 0.3
)

var service = work.Load{Workers: 10, Mean: 10 * time.Millisecond}

var program = trial.Trial{
	Name: "storm",
	About: fmt.Sprintf("%d calls/s on a service that can do %.0f (virtual work of %v on %d workers, timeout %v), and %.0f during the trigger",
		rate, service.Capacity(), service.Mean, service.Workers, timeout, capacity*service.Capacity()),
	Cases: []string{"holdfast", "naive"},
	Run:   run,
}

func main() {
	work.Child()
	trial.Main(program)
}

// phases is when what happens, since the start.
type phases struct{ warm, trigger, over, end time.Duration }

func run(ctx context.Context, r *trial.Run) error {
	at := phases{warm: r.Long(5*time.Second, 300*time.Millisecond)}
	at.trigger = at.warm + r.Long(10*time.Second, 700*time.Millisecond)
	at.over = at.trigger + r.Long(10*time.Second, time.Second)
	at.end = at.over + r.Long(60*time.Second, 500*time.Millisecond)

	naive := r.Case == "naive"
	spec := work.Spec{Kind: work.Holdfast, ID: "work-1", Load: service}
	if naive {
		spec.Kind = work.Bare
	}
	spec.Load.Seed = r.Seed
	server, err := work.Start(ctx, spec)
	if err != nil {
		return err
	}
	defer server.Close()
	rec := new(load.Recorder)
	client, closeClient, err := dial(rec, naive, server.Addr)
	if err != nil {
		return err
	}
	defer closeClient()
	if err := work.Warm(ctx, client, 20); err != nil {
		return err
	}

	do := call(client, 1)
	if naive {
		do = call(client, attempts)
	}
	rec.Start()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if !rec.Until(ctx, at.trigger) {
			return nil
		}
		if err := server.Set(work.Fault{Slow: 1 / capacity}); err != nil {
			return err
		}
		if !rec.Until(ctx, at.over) {
			return nil
		}
		return server.Set(work.Fault{})
	})
	var calls load.Calls
	g.Go(func() error {
		calls = rec.Run(ctx, load.Config{For: at.end, Rate: load.Constant(rate), Seed: r.Seed, Do: do})
		return nil
	})
	if err := g.Wait(); err != nil {
		return fmt.Errorf("trigger: %w", err)
	}
	r.Calls(calls)
	report(r, calls, at, naive)
	return nil
}

func dial(rec *load.Recorder, naive bool, addr string) (workpb.WorkClient, func(), error) {
	if naive {
		client, _, closeClient, err := work.DialBare(rec, addr)
		return client, closeClient, err
	}
	return work.DialStatic(rec, addr)
}

// call makes a call that is tried n times, each time until the timeout.
func call(client workpb.WorkClient, n int) func(context.Context, int) error {
	return func(ctx context.Context, _ int) (err error) {
		for range n {
			attempt, cancel := context.WithTimeout(ctx, timeout)
			_, err = client.Do(attempt, &workpb.DoRequest{})
			cancel()
			if err == nil || ctx.Err() != nil {
				break
			}
		}
		return err
	}
}

func report(r *trial.Run, calls load.Calls, at phases, naive bool) {
	during, after := calls.Between(at.trigger, at.over), calls.Between(at.over, at.end)
	late := calls.Between(max(at.over, at.end-20*time.Second), at.end)
	amplification := calls.Between(at.trigger, at.end).Attempts()
	r.Add("success before", calls.Between(at.warm, at.trigger).Success(), trial.Share, trial.AtLeast(0.99))
	r.Add("success during the trigger", during.Success(), trial.Share, trial.Promise{})
	r.Add("attempts a call during the trigger", during.Attempts(), trial.Times, trial.Promise{})
	r.Add("attempts a call after it", after.Attempts(), trial.Times, trial.Promise{})
	if naive {
		r.Add("success in the last 20 of 60 s after it", late.Success(), trial.Share, trial.Below(0.1))
		return
	}
	r.Add("success in the last 20 of 60 s after it", late.Success(), trial.Share, trial.AtLeast(0.99))
	r.Add("attempts a call from the trigger on", amplification, trial.Times, trial.AtMost(1.15))
	// Over the 20 s after it: what comes later is in the success of that time.
	settled := calls.Settled(at.over, min(at.end, at.over+20*time.Second), 500*time.Millisecond, func(c load.Calls) bool { return c.Success() >= 0.95 })
	r.Add("recovered after", settled.Seconds(), trial.Seconds, trial.AtMost(3))
}
