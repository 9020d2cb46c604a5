// Command outage shows that a service does not need its registry to go on: it is killed and stays away for a minute, in
// which every instance of the service is killed, too, and started again where it was, one after the other. No call fails,
// and when the registry is back, so are all instances in it, within the time after which a record ends (TTL, 10 s).
//
//	go run ./bench/outage                     # on etcd and on Consul
//	go run ./bench/outage -only etcd -seeds 1 -timeline
//
// The calls are safe to do twice: whatever an instance does that is killed is lost, and somebody has to do it again.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-go/holdfast/bench/internal/load"
	"github.com/holdfast-go/holdfast/bench/internal/trial"
	"github.com/holdfast-go/holdfast/bench/internal/work"
	"github.com/holdfast-go/holdfast/bench/internal/work/workpb"
)

const (
	instances = 5
	rate      = 500 // calls a second
	deadline  = 2 * time.Second
	ttl       = 10 * time.Second // the default
)

var instance = work.Load{Workers: 4, Mean: 10 * time.Millisecond}

var program = trial.Trial{
	Name: "outage",
	About: fmt.Sprintf("the registry is killed and is away for a minute, while each of %d instances is killed and started again; %d calls/s, deadline %v, virtual work of %v",
		instances, rate, deadline, instance.Mean),
	Cases: []string{work.EngineEtcd, work.EngineConsul},
	Run:   run,
}

func main() {
	work.Child()
	trial.Main(program)
}

func run(ctx context.Context, r *trial.Run) error {
	dir, err := os.MkdirTemp("", "holdfast-outage-")
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // in the temporary directory
	engine, err := work.StartEngine(ctx, r.Case, dir)
	if err != nil {
		return err
	}
	defer engine.Close()
	roster, err := work.OpenRoster(engine.URL)
	if err != nil {
		return err
	}
	defer roster.Close()
	fleet, err := start(ctx, r, engine, roster)
	if err != nil {
		return err
	}
	defer func() { fleet.Close() }()

	rec := new(load.Recorder)
	client, closeClient, err := work.Dial(roster.Registry(), rec)
	if err != nil {
		return err
	}
	defer closeClient()
	if err := work.Warm(ctx, client, 20); err != nil {
		return err
	}
	s := script{r: r, rec: rec, engine: engine, roster: roster, fleet: fleet}
	enough := make(chan struct{})
	var calls load.Calls
	rec.Start()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(enough)
		return s.run(ctx)
	})
	g.Go(func() error {
		calls = rec.Run(ctx, load.Config{
			For: time.Hour, Enough: enough, Rate: load.Constant(rate), Seed: r.Seed,
			Do: func(ctx context.Context, _ int) error {
				ctx, cancel := context.WithTimeout(ctx, deadline)
				defer cancel()
				_, err := client.Do(ctx, &workpb.DoRequest{})
				return err //nolint:wrapcheck // what is measured
			},
		})
		return nil
	})
	if err := g.Wait(); err != nil {
		return err //nolint:wrapcheck // says it all
	}
	r.Calls(calls)
	for _, c := range calls {
		if c.Err != nil {
			fmt.Fprintf(r.Log, "failed at %.2fs after %v: %v\n", c.Due.Seconds(), c.Took.Round(time.Millisecond), c.Err)
		}
	}
	r.Add("calls", float64(len(calls)), trial.Count, trial.Promise{})
	r.Add("failed", float64(calls.Failed()), trial.Count, trial.AtMost(0).Always())
	r.Add("p99", float64(calls.Quantile(0.99))/1e6, trial.Millis, trial.Promise{})
	r.Add("slowest call", float64(calls.Quantile(1))/1e6, trial.Millis, trial.Promise{})
	r.Add("attempts a call", calls.Attempts(), trial.Times, trial.Promise{})
	r.Add("instances killed", float64(s.killed), trial.Count, trial.Promise{})
	r.Add("all of them back in the registry after", s.back.Seconds(), trial.Seconds, trial.AtMost(ttl.Seconds()).Always())
	r.Add("gone again within a TTL", float64(s.gone), trial.Count, trial.AtMost(0).Always())
	return nil
}

// start starts the instances, each at an address that it can have again.
func start(ctx context.Context, r *trial.Run, engine *work.Engine, roster *work.Roster) (work.Fleet, error) {
	specs := make([]work.Spec, instances)
	for i := range specs {
		addr, err := work.FreeAddr()
		if err != nil {
			return nil, err
		}
		specs[i] = work.Spec{Kind: work.Holdfast, ID: fmt.Sprintf("work-%d", i+1), Addr: addr, Load: instance, Registry: engine.URL, Version: "1"}
		specs[i].Load.Seed = r.Seed*10 + uint64(i)
	}
	fleet, err := work.StartFleet(ctx, specs...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err := roster.Await(ctx, "1", ids(fleet)...); err != nil {
		fleet.Close()
		return nil, err
	}
	return fleet, nil
}

func ids(fleet work.Fleet) []string {
	out := make([]string, len(fleet))
	for i, p := range fleet {
		out[i] = p.Spec.ID
	}
	return out
}

// script is what is done while calls are made.
type script struct {
	r      *trial.Run
	rec    *load.Recorder
	engine *work.Engine
	roster *work.Roster
	fleet  work.Fleet

	killed int
	back   time.Duration // after the registry was: until all were in it
	gone   int           // instances that then were in it no more
}

func (s *script) run(ctx context.Context) error {
	down := s.r.Long(5*time.Second, 300*time.Millisecond)
	up := down + s.r.Long(time.Minute, 2*time.Second)
	if !s.rec.Until(ctx, down) {
		return nil
	}
	s.engine.Kill()
	kills := s.fleet
	if s.r.Short {
		kills = kills[:1]
	}
	for i, p := range kills {
		if !s.rec.Until(ctx, down+(up-down)*time.Duration(i+1)/time.Duration(len(kills)+1)) {
			return nil
		}
		p.Kill()
		s.killed++
		// Long enough to be missed, as after a crash of a process that a supervisor starts again.
		if !s.rec.Until(ctx, s.rec.Now()+s.r.Long(time.Second, 100*time.Millisecond)) {
			return nil
		}
		p.Spec.Version = "2"
		if err := p.Restart(ctx); err != nil {
			return err
		}
	}
	if !s.rec.Until(ctx, up) {
		return nil
	}
	if err := s.engine.Restart(ctx); err != nil {
		return err
	}
	return s.returned(ctx, kills)
}

// returned waits until all that were restarted are in the registry, and looks whether they stay there.
func (s *script) returned(ctx context.Context, kills work.Fleet) error {
	limited, cancel := context.WithTimeout(ctx, 3*ttl)
	defer cancel()
	var err error
	if s.back, err = s.roster.Await(limited, "2", ids(kills)...); err != nil {
		return err
	}
	end := s.rec.Now() + s.r.Long(ttl+5*time.Second, 300*time.Millisecond)
	for s.rec.Until(ctx, min(end, s.rec.Now()+100*time.Millisecond)) && s.rec.Now() < end {
		s.gone = max(s.gone, instances-len(s.roster.Addrs()))
	}
	return nil
}
