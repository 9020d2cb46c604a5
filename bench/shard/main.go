// Command shard shows what more hosts do for sharded state, and what moving shards costs those who use it.
//
//	go run ./bench/shard
//	go run ./bench/shard -seeds 1 -cost 500us
//
// Three hosts have 24 shards of three replicas each, all on real disks and connections, in one process. Writers add to
// keys of their own, one call after the other, at any host, which passes on what it does not have; a call that fails is
// repeated. Then three more hosts come, shards are moved until all six have the same share, and then one of the first
// three is emptied, all under the same writes. In the end every key is read from wherever it is: each number that was
// acknowledged must be there once.
//
// Since all hosts share this machine, the work of a host is modelled: applying a command takes -cost of it, one at a time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-go/holdfast/bench/internal/trial"
	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/replica/shard"
)

const (
	shards   = 24
	replicas = 3
	writers  = 96
)

var cost = time.Millisecond

var program = trial.Trial{
	Name:  "shard",
	About: fmt.Sprintf("%d shards of %d replicas on 3 hosts, then on 6, then on 5; %d writers", shards, replicas, writers),
	Cases: []string{"hosts come and go"},
	Flags: func(f *flag.FlagSet) { f.DurationVar(&cost, "cost", cost, "what applying a command takes of a host") },
	Run:   run,
}

func main() { trial.Main(program) }

func run(ctx context.Context, r *trial.Run) (err error) {
	dir, err := os.MkdirTemp("", "holdfast-shard-")
	if err != nil {
		return fmt.Errorf("shard: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	f := &fleet{dir: dir, shards: shards, writers: writers}
	if r.Short {
		f.shards, f.writers = 1, 3
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	if err := f.grow(ctx, 3); err != nil {
		return err
	}
	w := f.write(ctx, r.Seed)
	three := w.rate(ctx, r.Long(8*time.Second, 300*time.Millisecond))
	if err := f.grow(ctx, 3); err != nil {
		return err
	}
	w.mark()
	begun := time.Now()
	if err := f.rebalance(ctx, f.hosts); err != nil {
		return err
	}
	growing, slowestGrowing := time.Since(begun), w.mark()
	time.Sleep(r.Long(5*time.Second, 0)) // the old hosts delete what they have, leaders find their places
	six := w.rate(ctx, r.Long(8*time.Second, 300*time.Millisecond))
	w.mark()
	begun = time.Now()
	if err := f.rebalance(ctx, f.hosts[1:]); err != nil {
		return err
	}
	emptying, slowestEmptying := time.Since(begun), w.mark()
	calls := w.stop()
	lost, doubled, err := f.check(ctx, w)
	if err != nil {
		return err
	}
	r.Add("writes with 3 hosts", three, trial.PerSec, trial.Promise{})
	r.Add("writes with 6 hosts", six, trial.PerSec, trial.Promise{})
	r.Add("6 hosts / 3 hosts", six/three, trial.Times, trial.AtLeast(1.6))
	r.Add("moving to 6 hosts", millis(growing), trial.Millis, trial.Promise{})
	r.Add("slowest write meanwhile", millis(slowestGrowing), trial.Millis, trial.AtMost(2000))
	r.Add("emptying a host", millis(emptying), trial.Millis, trial.Promise{})
	r.Add("slowest write meanwhile, then", millis(slowestEmptying), trial.Millis, trial.AtMost(2000))
	r.Add("writes", float64(calls), trial.Count, trial.Promise{})
	r.Add("failed attempts", float64(w.failed.Load()), trial.Count, trial.AtMost(0))
	r.Add("acknowledged and lost", float64(lost), trial.Count, trial.AtMost(0))
	r.Add("applied twice", float64(doubled), trial.Count, trial.AtMost(0))
	return nil
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// fleet is the hosts.
type fleet struct {
	dir             string
	shards, writers int

	mu    sync.Mutex
	hosts []*host
}

type host struct {
	name string
	addr string
	m    *shard.Map
	end  context.CancelFunc
	work errgroup.Group
	free atomic.Int64 // when the host has done what it was given, in Unix nanoseconds
}

// Watch implements replica.Peers.
func (f *fleet) Watch(ctx context.Context, update func([]replica.Peer)) error {
	for ctx.Err() == nil {
		f.mu.Lock()
		var peers []replica.Peer
		for _, h := range f.hosts {
			peers = append(peers, replica.Peer{Name: h.name, Addr: h.addr})
		}
		f.mu.Unlock()
		update(peers)
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}

// grow starts n more hosts and waits until they are ready.
func (f *fleet) grow(ctx context.Context, n int) error {
	from := len(f.hosts)
	logger := slog.New(slog.DiscardHandler)
	for i := range n {
		h := &host{name: fmt.Sprintf("host-%d", from+i+1)}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("shard: %w", err)
		}
		h.addr = listener.Addr().String()
		rh, err := replica.NewHost(replica.Config{
			Name: h.name, Dir: filepath.Join(f.dir, h.name), Peers: f, Founders: []string{"host-1", "host-2", "host-3"},
			Listener: listener, Logger: logger,
		})
		if err != nil {
			return err
		}
		h.m, err = shard.New(rh, shard.Config{
			Name: "numbers", Shards: f.shards, Replicas: replicas, Logger: logger,
			Machine: func(int) replica.Machine { return newNumbers(h) },
		})
		if err != nil {
			return errors.Join(err, rh.Close())
		}
		running, end := context.WithCancel(context.Background())
		h.end = end
		h.work.Go(func() error { return rh.Run(running) })
		h.work.Go(func() error { return h.m.Run(running) })
		f.mu.Lock()
		f.hosts = append(f.hosts, h)
		f.mu.Unlock()
	}
	for _, h := range f.hosts {
		select {
		case <-h.m.Ready():
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Minute):
			return fmt.Errorf("%s is not ready within a minute", h.name)
		}
	}
	return nil
}

func (f *fleet) stop() error {
	var errs []error
	for _, h := range f.hosts {
		h.end()
	}
	for _, h := range f.hosts {
		errs = append(errs, h.work.Wait())
	}
	return errors.Join(errs...)
}

func (f *fleet) rebalance(ctx context.Context, hosts []*host) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	var names []string
	for _, h := range hosts {
		names = append(names, h.name)
	}
	return hosts[0].m.Rebalance(ctx, names)
}

// at returns the group and machine of a key, asking from h on as callers that are passed on would.
func (f *fleet) at(h *host, key string, rng *rand.Rand) (*replica.Group, *numbers, bool) {
	for range 4 {
		n := h.m.Of(key)
		if g, machine, ok := h.m.Local(n); ok {
			return g, machine.(*numbers), true
		}
		names := h.m.Hosts(n)
		if len(names) == 0 {
			return nil, nil, false
		}
		i := slices.IndexFunc(f.all(), func(h *host) bool { return h.name == names[rng.IntN(len(names))] })
		if i < 0 {
			return nil, nil, false
		}
		h = f.all()[i]
	}
	return nil, nil, false
}

func (f *fleet) all() []*host {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.hosts)
}

// check reads every key and compares it with what was acknowledged.
func (f *fleet) check(ctx context.Context, w *work) (lost, doubled int, err error) {
	rng := rand.New(rand.NewPCG(1, 1))
	for i, last := range w.last {
		key := keyOf(i)
		var got map[int]int
		for got == nil {
			if g, machine, ok := f.at(f.hosts[rng.IntN(len(f.hosts))], key, rng); ok {
				try, cancel := context.WithTimeout(ctx, 5*time.Second)
				_ = g.Read(try, replica.Linearizable, func() error { got = machine.times(key); return nil }) // or once more
				cancel()
			}
			if got == nil {
				select {
				case <-ctx.Done():
					return 0, 0, context.Cause(ctx)
				case <-time.After(50 * time.Millisecond):
				}
			}
		}
		for n := range last {
			switch times := got[n+1]; {
			case times == 0:
				lost++
			case times > 1:
				doubled++
			}
		}
	}
	return lost, doubled, nil
}
