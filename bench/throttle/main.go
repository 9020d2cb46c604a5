// Command throttle shows how soon calls pass again after a dependency was away for two minutes. A client that holds back
// what is refused anyway must find out that it is not refused any more, or it makes the outage longer by as much again.
//
//	go run ./bench/throttle                   # two minutes in virtual time, and a minute in real time
//	go run ./bench/throttle -only real -seeds 1 -outage 2m -timeline
//
// "refusing" and "hanging" are virtual: the real attempt loop, budget and throttle of the client, event by event, against a
// dependency that answers UNAVAILABLE at once, or not at all. "published" is the throttle of the SRE book with the same
// numbers, for contrast. "real" is three processes that answer UNAVAILABLE, and a client with all its defaults.
package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-go/holdfast/bench/internal/load"
	"github.com/holdfast-go/holdfast/bench/internal/trial"
	"github.com/holdfast-go/holdfast/bench/internal/work"
	"github.com/holdfast-go/holdfast/bench/internal/work/workpb"
)

const (
	rate     = 1000 // calls a second
	deadline = time.Second
	virtual  = 2 * time.Minute // of outage
)

var instance = work.Load{Workers: 10, Mean: 10 * time.Millisecond}

// outage is that of the real processes.
var outage time.Duration

var program = trial.Trial{
	Name:  "throttle",
	About: fmt.Sprintf("%d calls/s, deadline %v; the dependency is away for %v (real: see -outage)", rate, deadline, virtual),
	Cases: []string{"refusing", "hanging", "published", "real"},
	Flags: func(f *flag.FlagSet) {
		f.DurationVar(&outage, "outage", time.Minute, "how long the real processes are out of order")
	},
	Run: run,
}

func main() {
	work.Child()
	trial.Main(program)
}

func run(ctx context.Context, r *trial.Run) error {
	var calls load.Calls
	var begin, end time.Duration
	if r.Case == "real" {
		begin = r.Long(5*time.Second, 300*time.Millisecond)
		end = begin + r.Long(outage, time.Second)
		var err error
		if calls, err = actual(ctx, r, begin, end); err != nil {
			return err
		}
	} else {
		begin = r.Long(30*time.Second, 4*time.Second)
		end = begin + r.Long(virtual, 4*time.Second)
		calls = simulate(r.Case, r.Seed, begin, end, end+r.Long(5*time.Minute, 6*time.Second))
	}
	r.Calls(calls)
	promise := func(p trial.Promise) trial.Promise {
		if r.Case == "published" {
			return trial.Promise{}
		}
		return p
	}
	late := calls.Between(max(begin, end-20*time.Second), end)
	passes := calls.Settled(end, end+(calls[len(calls)-1].Due-end).Truncate(time.Second), 500*time.Millisecond,
		func(c load.Calls) bool { return c.Success() >= 0.95 })
	r.Add("success before", calls.Between(begin/2, begin).Success(), trial.Share, promise(trial.AtLeast(0.999)))
	r.Add("attempts a call late in the outage", late.Attempts(), trial.Times, trial.Promise{})
	r.Add("95 % of calls pass again after", passes.Seconds(), trial.Seconds, promise(trial.AtMost(8)))
	return nil
}

// actual makes calls to real processes.
func actual(ctx context.Context, r *trial.Run, begin, end time.Duration) (load.Calls, error) {
	specs := make([]work.Spec, 3)
	for i := range specs {
		specs[i] = work.Spec{Kind: work.Holdfast, ID: fmt.Sprintf("work-%d", i+1), Load: instance}
		specs[i].Load.Seed = r.Seed*10 + uint64(i)
	}
	fleet, err := work.StartFleet(ctx, specs...)
	if err != nil {
		return nil, err
	}
	defer fleet.Close()
	rec := new(load.Recorder)
	client, closeClient, err := work.DialStatic(rec, fleet.Addrs()...)
	if err != nil {
		return nil, err
	}
	defer closeClient()
	if err := work.Warm(ctx, client, 20); err != nil {
		return nil, err
	}
	rec.Start()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if !rec.Until(ctx, begin) {
			return nil
		}
		if err := fleet.Set(work.Fault{Unavailable: true}); err != nil || !rec.Until(ctx, end) {
			return err
		}
		return fleet.Set(work.Fault{})
	})
	var calls load.Calls
	g.Go(func() error {
		calls = rec.Run(ctx, load.Config{
			For: end + r.Long(30*time.Second, time.Second), Rate: load.Constant(rate), Seed: r.Seed,
			Do: func(ctx context.Context, _ int) error {
				ctx, cancel := context.WithTimeout(ctx, deadline)
				defer cancel()
				_, err := client.Do(ctx, &workpb.DoRequest{})
				return err //nolint:wrapcheck // what is measured
			},
		})
		return nil
	})
	return calls, g.Wait() //nolint:wrapcheck // says it all
}
