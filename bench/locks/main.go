// Command locks shows that two never hold a lock, and that storage which goes by tokens takes nothing from who held one
// before, whatever happens to the holders and to the engine: processes that hold a lock are stopped for longer than its
// TTL, or killed; the engine is killed with SIGKILL and started again, at times with an empty disk.
//
//	go run ./bench/locks                                # on etcd, on Consul, and among the contenders themselves (replica)
//	go run ./bench/locks -only etcd -seeds 1 -for 10m
//
// Fifty contenders in ten processes want three locks, and each process stands for an election. All of them run on one
// machine, so that one clock says when each hold began and when its context ended. Every holder writes to storage while
// its context lasts; one that lost its lock writes once more, as a packet does that comes late. The storage is a table behind
// package guard, and is judged by its rows. In the end all are left alone, and everything has to go on.
//
// With replica each process is a member of the group that keeps the locks, three of them with a vote: who stops a holder may
// stop the engine's leader. "Killed" are all three at once, and "wiped" is one disk of the three.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/trial"
	"github.com/holdfast-go/holdfast/bench/internal/work"
)

const (
	processes = 10
	each      = 5 // contenders in a process
	locks     = 3
	ttl       = 3 * time.Second

	// calm is how long all may take to go on when nothing happens any more: what was stopped or killed last has to end
	// first, and an engine that was wiped to settle. long is a wait that somebody has forgotten.
	calm = 10 * ttl
	long = 5 * ttl
)

// lasts is how long a run is; 0 is the default.
var lasts time.Duration

var program = trial.Trial{
	Name: "locks",
	About: fmt.Sprintf("%d contenders in %d processes want %d locks with a TTL of %v, and stand for an election, while holders are stopped and killed, and the engine is killed, restarted and wiped",
		processes*each, processes, locks, ttl),
	Cases: []string{work.EngineEtcd, work.EngineConsul, engineReplica},
	Flags: func(f *flag.FlagSet) { f.DurationVar(&lasts, "for", 0, "how `long` a run is (2m)") },
	Run:   run,
}

func main() {
	work.Child()
	child()
	trial.Main(program)
}

func run(ctx context.Context, r *trial.Run) error {
	dir, err := os.MkdirTemp("", "holdfast-locks-")
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // in the temporary directory
	var all []*contenders
	engine, err := startEngine(ctx, r.Case, dir, &all)
	if err != nil {
		return err
	}
	defer engine.close()
	storage, err := newStorage(dir)
	if err != nil {
		return err
	}
	defer storage.close()
	defer func() {
		for _, p := range all {
			p.kill()
		}
	}()
	for i := range processes {
		spec := spec{Engine: engine.url, Storage: storage.addr(), Process: i, Seed: r.Seed}
		if engine.member != nil {
			spec.Member = engine.member(i)
		}
		p, err := startContenders(spec)
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	length := r.Long(2*time.Minute, 8*time.Second)
	if lasts > 0 {
		length = lasts
	}
	trouble, stop := context.WithTimeout(ctx, length)
	defer stop()
	s := script{
		r: r, engine: engine, storage: storage, all: all,
		rand: rand.New(rand.NewPCG(r.Seed, 0)), //nolint:gosec // to be repeatable
	}
	begun := time.Now()
	if err := s.run(trouble); err != nil {
		return err
	}
	s.peace(ctx)
	return s.report(ctx, time.Since(begun))
}

// script is what happens.
type script struct {
	r       *trial.Run
	engine  *engine
	storage *storage
	all     []*contenders
	rand    *rand.Rand

	frozen, killed, restarts, wipes int

	calm time.Duration // until all went on in the end
	idle []string      // what did not
	old  int
}

func (s *script) run(ctx context.Context) error {
	if !pause(ctx, 2*ttl) { // until an engine that is new has settled
		return nil
	}
	for n := 1; ; n++ {
		var err error
		switch {
		case n%8 == 0:
			s.wipes++
			err = s.outage(ctx, true)
		case n%4 == 0:
			s.restarts++
			err = s.outage(ctx, false)
		case n%4 == 2:
			err = s.kill()
		default:
			s.freeze(ctx)
		}
		if err != nil || !pause(ctx, between(s.rand, ttl/2, 2*ttl)) {
			return err
		}
	}
}

// peace leaves all alone until each lock was held, somebody has come to lead, and nobody waits for long.
func (s *script) peace(ctx context.Context) {
	begun := time.Now()
	for {
		s.idle, s.old = s.storage.progress(begun, long)
		s.calm = time.Since(begun)
		if len(s.idle) == 0 && s.old == 0 || s.calm > calm || !pause(ctx, ttl/30) {
			return
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

// holder returns the process that holds one of the locks now, as far as it is known, or any.
func (s *script) holder() *contenders {
	if i, ok := s.storage.holder(s.rand.IntN(locks + 1)); ok {
		return s.all[i]
	}
	return s.all[s.rand.IntN(len(s.all))]
}

// freeze stops a holder, most often for longer than its TTL.
func (s *script) freeze(ctx context.Context) {
	p := s.holder()
	s.frozen++
	p.freeze()
	pause(ctx, between(s.rand, ttl/2, 4*ttl))
	p.thaw()
}

// kill ends a holder and starts another process in its place.
func (s *script) kill() error {
	p := s.holder()
	s.killed++
	p.check()
	p.kill()
	return p.start()
}

// outage kills the engine and starts it again, with a holder stopped meanwhile.
func (s *script) outage(ctx context.Context, wipe bool) error {
	p := s.holder()
	p.freeze()
	defer p.thaw()
	s.engine.kill()
	pause(ctx, between(s.rand, 0, ttl))
	if wipe {
		if err := s.engine.wipe(); err != nil {
			return fmt.Errorf("wipe: %w", err)
		}
	}
	if err := s.engine.start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("restart the engine: %w", err)
	}
	pause(ctx, between(s.rand, 0, 2*ttl))
	return nil
}

func (s *script) report(ctx context.Context, length time.Duration) error {
	v, err := s.storage.verdict(ctx)
	if err != nil {
		return err
	}
	for _, name := range s.idle {
		v.problems = append(v.problems, name+": nobody has got it in the end")
	}
	for _, problem := range v.problems {
		fmt.Fprintln(s.r.Log, problem)
	}
	never := trial.AtMost(0).Always()
	add := s.r.Add
	crashed := 0
	for _, p := range s.all {
		p.check()
		crashed += p.crashed
	}
	add("contenders that ended by themselves", float64(crashed), trial.Count, never)
	add("two hold a lock at once", float64(v.overlaps), trial.Count, never)
	add("two lead at once", float64(v.leadOverlaps), trial.Count, never)
	add("tokens that did not grow", float64(v.shrunk), trial.Count, never)
	add("stale writes in the storage", float64(v.stale), trial.Count, never)
	add("locks and elections that do not go on in the end", float64(len(s.idle)), trial.Count, never)
	add(fmt.Sprintf("waits of more than %v in the end", long), float64(s.old), trial.Count, never)
	add("until all went on in the end", s.calm.Seconds(), trial.Seconds, trial.Promise{})
	add("stale writes that it refused", float64(v.refused), trial.Count, trial.Promise{})
	add("writes", float64(v.writes), trial.Count, trial.Promise{})
	add("acquisitions", float64(v.holds), trial.Count, trial.Promise{})
	add("acquisitions a second", float64(v.holds)/length.Seconds(), trial.PerSec, trial.Promise{})
	add("holds lost", float64(v.lost), trial.Count, trial.Promise{})
	add("times somebody led", float64(v.leads), trial.Count, trial.Promise{})
	add("holders stopped", float64(s.frozen+s.restarts+s.wipes), trial.Count, trial.Promise{})
	add("holders killed", float64(s.killed), trial.Count, trial.Promise{})
	add("engine killed", float64(s.restarts+s.wipes), trial.Count, trial.Promise{})
	add("engine wiped", float64(s.wipes), trial.Count, trial.Promise{})
	for _, d := range []struct {
		name string
		of   []time.Duration
	}{{"hand-over", v.handovers}, {"wait in the queue", v.waits}} {
		add(d.name+" p50", quantile(d.of, 0.5).Seconds()*1000, trial.Millis, trial.Promise{})
		add(d.name+" p99", quantile(d.of, 0.99).Seconds()*1000, trial.Millis, trial.Promise{})
	}
	add("longest wait", quantile(v.waits, 1).Seconds(), trial.Seconds, trial.Promise{})
	return nil
}
