// Command schedules runs many simulated schedules of a replicated group and judges their histories.
//
//	go run ./replica/internal/sim/schedules -n 1000            # seeds 1 to 1000, a line for each
//	go run ./replica/internal/sim/schedules -seed 17 -log      # one again, with its transcript
//	go run -tags mutant_stale_read ./replica/internal/sim/schedules -expect-bug
//
// It exits with 1 if a schedule shows a bug; with -expect-bug, if none does.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/replica/internal/sim"
)

func main() {
	var (
		n       = flag.Int("n", 0, "how many schedules; 0: 1000, or 1 with -seed")
		seed    = flag.Uint64("seed", 0, "the first seed; 0: 1")
		log     = flag.Bool("log", false, "print the transcript of each schedule (one after the other)")
		quiet   = flag.Bool("quiet", false, "print only what is found, and the sum")
		expect  = flag.Bool("expect-bug", false, "end at the first bug, and fail if there is none: for mutants")
		workers = flag.Int("workers", runtime.GOMAXPROCS(0), "schedules at once")
	)
	flag.Parse()
	if *n == 0 {
		*n = 1000
		if *seed != 0 {
			*n = 1
		}
	}
	if *log {
		*workers = 1
	}
	if !run(max(*seed, 1), uint64(*n), *workers, *log, *quiet, *expect) {
		os.Exit(1)
	}
}

func run(first, n uint64, workers int, log, quiet, expect bool) bool {
	var (
		begin = time.Now()
		next  atomic.Uint64
		stop  atomic.Bool
		mu    sync.Mutex // guards what follows, and the output
		wg    sync.WaitGroup
		ran   int
		ops   int
		bad   []uint64
		took  time.Duration
	)
	for range workers {
		wg.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= n || stop.Load() {
					return
				}
				cfg := sim.Draw(first + i)
				if log {
					cfg.Log = os.Stdout
				}
				r := sim.Run(cfg)
				mu.Lock()
				ran, ops, took = ran+1, ops+len(r.History), took+r.Simulated
				if !r.OK() {
					bad = append(bad, r.Seed)
					if expect {
						stop.Store(true)
					}
				}
				switch {
				case !r.OK() && expect:
					fmt.Printf("seed %d: %s\n", r.Seed, r.First())
				case !r.OK() || !quiet:
					fmt.Println(r)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	fmt.Printf("%d schedules (seeds %d to %d), %d operations, %v simulated in %v: ", ran, first, first+n-1, ops, took.Round(time.Second), time.Since(begin).Round(time.Millisecond))
	switch {
	case expect && len(bad) > 0:
		fmt.Printf("the bug is found after %d, by seed %d\n", ran, bad[0])
		return true
	case expect:
		fmt.Println("the bug is NOT found")
		return false
	case len(bad) > 0:
		fmt.Printf("%d show a bug: %v\n", len(bad), bad)
		return false
	}
	fmt.Println("all linearizable, nothing lost, nothing doubled")
	return true
}
