// Command rolling shows that a rolling restart is not noticed: all five instances of a service are stopped with SIGTERM and
// started again, one after the other and each at another address, while calls are made, half of which must not be done
// twice, and streams are open. No call fails, and every stream is told that it has to move before it ends.
//
//	go run ./bench/rolling                    # on etcd and on Consul, and the ways to stop that are known from elsewhere
//	go run ./bench/rolling -only etcd -seeds 1 -timeline
//
// "deregister" leaves the registry and stops gracefully at once, as kratos does; "stop" just stops, and leaves it meanwhile. Of these nothing
// is promised; "bare" ones have a bare grpc-go client that follows the registry, the others Holdfast's.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
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
	streaming = 50 // streams
)

var instance = work.Load{Workers: 4, Mean: 10 * time.Millisecond}

var program = trial.Trial{
	Name: "rolling",
	About: fmt.Sprintf("rolling restart of %d instances under %d calls/s, half of them not safe to do twice, and %d streams; deadline %v, virtual work of %v",
		instances, rate, streaming, deadline, instance.Mean),
	Cases: []string{"etcd", "consul", "deregister", "stop", "bare deregister", "bare stop"},
	Run:   run,
}

func main() {
	work.Child()
	trial.Main(program)
}

// setup is what a case is made of.
type setup struct {
	engine string
	server work.Kind
	bare   bool
}

func setupOf(name string) setup {
	s := setup{engine: work.EngineEtcd, server: work.Holdfast}
	name, s.bare = strings.CutPrefix(name, "bare ")
	switch name {
	case "consul":
		s.engine = work.EngineConsul
	case "deregister":
		s.server = work.Deregister
	case "stop":
		s.server = work.Stop
	}
	return s
}

func run(ctx context.Context, r *trial.Run) error {
	s := setupOf(r.Case)
	dir, err := os.MkdirTemp("", "holdfast-rolling-")
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // in the temporary directory
	engine, err := work.StartEngine(ctx, s.engine, dir)
	if err != nil {
		return err
	}
	defer engine.Close()
	roster, err := work.OpenRoster(engine.URL)
	if err != nil {
		return err
	}
	defer roster.Close()

	specs := make([]work.Spec, instances)
	for i := range specs {
		specs[i] = work.Spec{Kind: s.server, ID: fmt.Sprintf("work-%d", i+1), Load: instance, Registry: engine.URL, Version: "1"}
		specs[i].Load.Seed = r.Seed*10 + uint64(i)
	}
	fleet, err := work.StartFleet(ctx, specs...)
	if err != nil {
		return err
	}
	defer func() { fleet.Close() }()
	if err := await(ctx, roster, fleet...); err != nil {
		return err
	}

	rec := new(load.Recorder)
	client, closeClient, err := dial(rec, roster, s.bare)
	if err != nil {
		return err
	}
	defer closeClient()
	if err := work.Warm(ctx, client, 20); err != nil {
		return err
	}
	enough := make(chan struct{})
	var calls load.Calls
	streams := newStreams(client)
	rec.Start()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(enough)
		return restart(ctx, r, rec, roster, fleet)
	})
	g.Go(func() error {
		streams.run(ctx, enough)
		return nil
	})
	g.Go(func() error {
		calls = rec.Run(ctx, load.Config{
			For: time.Hour, Enough: enough, Rate: load.Constant(rate), Seed: r.Seed, Classes: []float64{1, 1},
			Do: func(ctx context.Context, class int) error { return call(ctx, client, class) },
		})
		return nil
	})
	if err := g.Wait(); err != nil {
		return err //nolint:wrapcheck // says it all
	}
	r.Calls(calls)
	report(r, s, calls, streams)
	return nil
}

func dial(rec *load.Recorder, roster *work.Roster, bare bool) (workpb.WorkClient, func(), error) {
	if !bare {
		return work.Dial(roster.Registry(), rec)
	}
	client, follow, closeClient, err := work.DialBare(rec, roster.Addrs()...)
	if err != nil {
		return nil, nil, err
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			changed := roster.Changed()
			if addrs := roster.Addrs(); len(addrs) > 0 {
				follow(addrs...)
			}
			select {
			case <-changed:
			case <-stop:
				return
			}
		}
	}()
	return client, func() { close(stop); <-done; closeClient() }, nil
}

// call makes a call that may be done twice, or one that must not.
func call(ctx context.Context, client workpb.WorkClient, class int) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	var err error
	if class == 0 {
		_, err = client.Do(ctx, &workpb.DoRequest{})
	} else {
		_, err = client.Book(ctx, &workpb.BookRequest{})
	}
	return err //nolint:wrapcheck // what is measured
}

// restart restarts all, one after the other.
func restart(ctx context.Context, r *trial.Run, rec *load.Recorder, roster *work.Roster, fleet work.Fleet) error {
	n := len(fleet)
	if r.Short {
		n = 1
	}
	at := r.Long(5*time.Second, 300*time.Millisecond)
	for i := range n {
		if !rec.Until(ctx, at) {
			return nil
		}
		p := fleet[i]
		if err := p.Terminate(ctx); err != nil {
			return err
		}
		spec := p.Spec
		version, _ := strconv.Atoi(spec.Version)
		spec.Version = strconv.Itoa(version + 1)
		p, err := work.Start(ctx, spec)
		if err != nil {
			return err
		}
		fleet[i].Close()
		fleet[i] = p
		if err := await(ctx, roster, p); err != nil {
			return err
		}
		at = rec.Now() + r.Long(time.Second, 100*time.Millisecond)
	}
	rec.Until(ctx, at+r.Long(2*time.Second, 0))
	return nil
}

// await waits until all are in the registry.
func await(ctx context.Context, roster *work.Roster, processes ...*work.Process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, fmt.Errorf("not within 30 s"))
	defer cancel()
	for _, p := range processes {
		if _, err := roster.Await(ctx, p.Spec.Version, p.Spec.ID); err != nil {
			return fmt.Errorf("%w: %s", err, p.Said())
		}
	}
	return nil
}

func report(r *trial.Run, s setup, calls load.Calls, streams *streams) {
	promise := trial.AtMost(0).Always()
	if s.bare || s.server != work.Holdfast {
		promise = trial.Promise{}
	}
	safe, unsafe := calls.Of(0), calls.Of(1)
	r.Add("calls", float64(len(calls)), trial.Count, trial.Promise{})
	r.Add("failed of those that are safe to repeat", float64(safe.Failed()), trial.Count, promise)
	r.Add("failed of those that are not", float64(unsafe.Failed()), trial.Count, promise)
	r.Add("p99", float64(calls.Quantile(0.99))/1e6, trial.Millis, trial.Promise{})
	r.Add("slowest call", float64(calls.Quantile(1))/1e6, trial.Millis, trial.Promise{})
	r.Add("attempts a call", calls.Attempts(), trial.Times, trial.Promise{})
	r.Add("streams told to move", float64(streams.told.Load()), trial.Count, trial.Promise{})
	r.Add("streams cut", float64(streams.cut.Load()), trial.Count, promise)
	r.Add("streams that could not be opened", float64(streams.refused.Load()), trial.Count, promise)
	r.Add("longest time without a stream", float64(streams.gap.Load())/1e6, trial.Millis, trial.Promise{})
	for _, c := range calls {
		if c.Err != nil && s.server == work.Holdfast {
			fmt.Fprintf(r.Log, "failed at %.2fs after %v: %v\n", c.Due.Seconds(), c.Took.Round(time.Millisecond), c.Err)
		}
	}
}
