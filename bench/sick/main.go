// Command sick shows that users do not notice when one instance of five is sick: killed, frozen, 50 times slower than the
// others or answering UNAVAILABLE at once, or when all of them fail now and then.
//
//	go run ./bench/sick                       # all faults, three seeds
//	go run ./bench/sick -only frozen -seeds 1 -timeline
//
// The instances are real processes with virtual work, the client is Holdfast's with all its defaults, and "bare" is
// grpc-go's with round robin, for contrast: nothing is promised of it.
package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-go/holdfast/bench/internal/load"
	"github.com/holdfast-go/holdfast/bench/internal/trial"
	"github.com/holdfast-go/holdfast/bench/internal/work"
	"github.com/holdfast-go/holdfast/bench/internal/work/workpb"
)

const (
	rate     = 600 // calls a second
	deadline = time.Second
)

// instance is what each of the five can do: 400 calls a second, so that four of them are busy to 38 %.
var instance = work.Load{Workers: 4, Mean: 10 * time.Millisecond}

// faults are what is done to one instance, and undone.
var faults = map[string]fault{
	"killed": {
		begin: func(_ context.Context, f work.Fleet) error { f[0].Kill(); return nil },
		end:   func(ctx context.Context, f work.Fleet) error { return f[0].Restart(ctx) },
	},
	"frozen": {
		begin: func(_ context.Context, f work.Fleet) error { f[0].Freeze(); return nil },
		end:   func(_ context.Context, f work.Fleet) error { f[0].Thaw(); return nil },
	},
	"slow":        one(work.Fault{Slow: 50}),
	"unavailable": one(work.Fault{Unavailable: true}),
	"all fail 3 %": {
		begin: func(_ context.Context, f work.Fleet) error { return f.Set(work.Fault{Failing: 0.03}) },
		end:   func(_ context.Context, f work.Fleet) error { return f.Set(work.Fault{}) },
		all:   true,
	},
}

type fault struct {
	begin, end func(context.Context, work.Fleet) error
	all        bool // instances are sick, not just the first
}

func one(of work.Fault) fault {
	return fault{
		begin: func(_ context.Context, f work.Fleet) error { return f[0].Set(of) },
		end:   func(_ context.Context, f work.Fleet) error { return f[0].Set(work.Fault{}) },
	}
}

var program = trial.Trial{
	Name: "sick",
	About: fmt.Sprintf("one of five instances is sick; %d calls/s, deadline %v, virtual work of %v on %d workers each",
		rate, deadline, instance.Mean, instance.Workers),
	Cases: []string{"killed", "frozen", "slow", "unavailable", "all fail 3 %", "bare killed", "bare frozen", "bare slow", "bare unavailable", "bare all fail 3 %"},
	Run:   run,
}

func main() {
	work.Child()
	trial.Main(program)
}

// phases is when what happens, since the start.
type phases struct{ warm, sick, well, end time.Duration }

func run(ctx context.Context, r *trial.Run) error {
	at := phases{warm: r.Long(5*time.Second, 300*time.Millisecond)}
	at.sick = at.warm + r.Long(15*time.Second, 500*time.Millisecond)
	at.well = at.sick + r.Long(20*time.Second, 1500*time.Millisecond)
	at.end = at.well + r.Long(25*time.Second, time.Second)

	name, bare := strings.CutPrefix(r.Case, "bare ")
	f := faults[name]
	kind := work.Holdfast
	if bare {
		kind = work.Bare
	}
	specs := make([]work.Spec, 5)
	for i := range specs {
		specs[i] = work.Spec{Kind: kind, ID: fmt.Sprintf("work-%d", i+1), Load: instance}
		specs[i].Load.Seed = r.Seed*10 + uint64(i)
		var err error
		if specs[i].Addr, err = work.FreeAddr(); err != nil {
			return err
		}
	}
	fleet, err := work.StartFleet(ctx, specs...)
	if err != nil {
		return err
	}
	defer fleet.Close()
	rec := new(load.Recorder)
	client, closeClient, err := dial(rec, bare, fleet.Addrs())
	if err != nil {
		return err
	}
	defer closeClient()

	calls, err := offer(ctx, r, rec, client, at, func(ctx context.Context) error { return f.begin(ctx, fleet) },
		func(ctx context.Context) error { return f.end(ctx, fleet) })
	if err != nil {
		return err
	}
	r.Calls(calls)
	report(r, calls, rec.Attempts(), at, f, fleet[0].Addr, bare)
	return nil
}

func dial(rec *load.Recorder, bare bool, addrs []string) (workpb.WorkClient, func(), error) {
	if bare {
		client, _, closeClient, err := work.DialBare(rec, addrs...)
		return client, closeClient, err
	}
	return work.DialStatic(rec, addrs...)
}

// offer makes the calls while the fault begins and ends.
func offer(ctx context.Context, r *trial.Run, rec *load.Recorder, client workpb.WorkClient, at phases, begin, end func(context.Context) error) (load.Calls, error) {
	if err := work.Warm(ctx, client, 20); err != nil {
		return nil, err
	}
	rec.Start()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if !rec.Until(ctx, at.sick) {
			return nil
		}
		if err := begin(ctx); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		if !rec.Until(ctx, at.well) {
			return nil
		}
		if err := end(ctx); err != nil {
			return fmt.Errorf("end: %w", err)
		}
		return nil
	})
	var calls load.Calls
	g.Go(func() error {
		calls = rec.Run(ctx, load.Config{For: at.end, Rate: load.Constant(rate), Seed: r.Seed, Do: func(ctx context.Context, _ int) error {
			ctx, cancel := context.WithTimeout(ctx, deadline)
			defer cancel()
			_, err := client.Do(ctx, &workpb.DoRequest{})
			return err //nolint:wrapcheck // what is measured
		}})
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return calls, nil
}

func report(r *trial.Run, calls load.Calls, attempts load.Attempts, at phases, f fault, addr string, bare bool) {
	promise := func(p trial.Promise) trial.Promise {
		if bare {
			return trial.Promise{}
		}
		return p
	}
	before, during := calls.Between(at.warm, at.sick), calls.Between(at.sick, at.well)
	all := calls.Between(at.sick, at.end) // what comes back must not hurt either
	r.Add("failed calls", 1-all.Success(), trial.Share, promise(trial.AtMost(0.0001)))
	r.Add("attempts a call during the fault", during.Attempts(), trial.Times, promise(trial.AtMost(1.05)))
	r.Add("p99 before the fault", millis(before.Quantile(0.99)), trial.Millis, trial.Promise{})
	r.Add("p99 during the fault", millis(during.Quantile(0.99)), trial.Millis, trial.Promise{})
	r.Add("p99 during / before", ratio(during.Quantile(0.99), before.Quantile(0.99)), trial.Times, promise(trial.AtMost(1.5)))
	r.Add("slowest call", millis(all.Quantile(1)), trial.Millis, trial.Promise{})
	if f.all {
		return
	}
	r.Add("share of the sick after 1 s", attempts.Between(at.sick+time.Second, at.well).Share(addr), trial.Share, promise(trial.AtMost(0.01)))
	r.Add("full share again after", back(attempts, at, addr).Seconds(), trial.Seconds, promise(trial.AtMost(20)))
}

// back is how long after the end of the fault the instance has its share again: for a second it got at least 0.85 of what
// it got before, which is four standard deviations below it, and over the two seconds after that 0.9. at.end−at.well if never.
func back(attempts load.Attempts, at phases, addr string) time.Duration {
	fair := attempts.Between(at.warm, at.sick).Share(addr)
	for t := at.well; t+3*time.Second <= at.end; t += 100 * time.Millisecond {
		if attempts.Between(t, t+time.Second).Share(addr) >= 0.85*fair && attempts.Between(t, t+3*time.Second).Share(addr) >= 0.9*fair {
			return t + time.Second - at.well
		}
	}
	return at.end - at.well
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(max(1, b)) }
