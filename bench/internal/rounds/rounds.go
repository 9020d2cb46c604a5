// Package rounds compares ways to do the same thing, in one process and in interleaved rounds, so that whatever else the
// machine does meets all of them alike.
package rounds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Way is one way to make a call. Worker returns what makes one after the other; it is asked once for each of those that
// do so at the same time.
type Way struct {
	Name   string
	Worker func() func(context.Context) error
}

// Result is what one round of one way was like. A call is whatever is compared: of bench/queue it is a message.
type Result struct {
	Rate     float64 // calls a second
	P50, P99 time.Duration
	CPU      time.Duration // of this process, a call
	Engine   time.Duration // CPU of the processes that serve this one, a call
	Allocs   float64       // of this process, a call
	Bytes    float64
	Sleeps   float64 // of threads, a call: each is woken by another one, which costs most where nothing else is to be done
}

// Interleave measures the ways in turn, c calls at a time, round by round, each round in another order. A short round
// before each one that counts gets the timers, pools and connections of that way going again. The results are those of
// ways, a Result for each round.
func Interleave(ctx context.Context, ways []Way, c, n int, round time.Duration) ([][]Result, error) {
	results := make([][]Result, len(ways))
	for r := range n {
		for i := range ways {
			j := (i + r) % len(ways)
			if _, err := Measure(ctx, ways[j], c, round/10); err != nil {
				return nil, err
			}
			runtime.GC()
			result, err := Measure(ctx, ways[j], c, round)
			if err != nil {
				return nil, err
			}
			results[j] = append(results[j], result)
		}
	}
	return results, nil
}

// Measure makes calls by w, c at a time, for d; one at least, however late it is.
func Measure(ctx context.Context, w Way, c int, d time.Duration) (Result, error) {
	var (
		wg        sync.WaitGroup
		failed    = make([]error, c)
		latencies = make([][]time.Duration, c)
	)
	for i := range latencies {
		// Room for all, so that the measuring allocates nothing.
		latencies[i] = make([]time.Duration, 0, int(d.Seconds()*200_000)/c+1000)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, sleeps := Used()
	start := time.Now()
	end := start.Add(d)
	for i := range c {
		wg.Go(func() {
			call := w.Worker()
			for now, first := time.Now(), true; first || now.Before(end); first = false {
				if err := call(ctx); err != nil {
					failed[i] = fmt.Errorf("%s: %w", w.Name, err)
					return
				}
				then := now
				now = time.Now()
				latencies[i] = append(latencies[i], now.Sub(then))
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	cpuAfter, sleepsAfter := Used()
	runtime.ReadMemStats(&after)
	if err := errors.Join(failed...); err != nil {
		return Result{}, err
	}
	all := slices.Concat(latencies...)
	slices.Sort(all)
	n := len(all)
	return Result{
		Rate:   float64(n) / took.Seconds(),
		P50:    all[n/2],
		P99:    all[n*99/100],
		CPU:    (cpuAfter - cpu) / time.Duration(n),
		Allocs: float64(after.Mallocs-before.Mallocs) / float64(n),
		Bytes:  float64(after.TotalAlloc-before.TotalAlloc) / float64(n),
		Sleeps: float64(sleepsAfter-sleeps) / float64(n),
	}, nil
}

// Compare returns the medians over the rounds of how a compares with b: neighbours in time are compared with each other.
// rate and cpu are ratios, allocs is a difference.
func Compare(a, b []Result) (rate, cpu, allocs float64) {
	of := func(f func(a, b Result) float64) float64 {
		values := make([]float64, len(a))
		for i := range a {
			values[i] = f(a[i], b[i])
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return of(func(a, b Result) float64 { return a.Rate / b.Rate }),
		of(func(a, b Result) float64 { return float64(a.CPU) / float64(max(1, b.CPU)) }),
		of(func(a, b Result) float64 { return a.Allocs - b.Allocs })
}

// Middle is the median of each figure by itself.
func Middle(all []Result) Result {
	return Result{
		Rate:   median(all, func(r Result) float64 { return r.Rate }),
		P50:    median(all, func(r Result) time.Duration { return r.P50 }),
		P99:    median(all, func(r Result) time.Duration { return r.P99 }),
		CPU:    median(all, func(r Result) time.Duration { return r.CPU }),
		Engine: median(all, func(r Result) time.Duration { return r.Engine }),
		Allocs: median(all, func(r Result) float64 { return r.Allocs }),
		Bytes:  median(all, func(r Result) float64 { return r.Bytes }),
		Sleeps: median(all, func(r Result) float64 { return r.Sleeps }),
	}
}

func median[T float64 | time.Duration](all []Result, of func(Result) T) T {
	values := make([]T, len(all))
	for i, r := range all {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// Concurrency reads how many calls at a time there should be: numbers, separated by commas.
func Concurrency(text string) (all []int, err error) {
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 || n > 10_000 {
			return nil, fmt.Errorf("%q is not within 1 to 10000", word)
		}
		all = append(all, n)
	}
	return all, nil
}

// Profile begins the profiles that are asked for, of processor time and of allocations; an empty path asks for none. stop
// writes them.
func Profile(cpu, memory string) (stop func() error, err error) {
	allocations := func() error {
		if memory == "" {
			return nil
		}
		f, err := os.Create(memory)
		if err != nil {
			return fmt.Errorf("profile of allocations: %w", err)
		}
		return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
	}
	if memory != "" {
		runtime.MemProfileRate = 1 << 12
	}
	if cpu == "" {
		return allocations, nil
	}
	f, err := os.Create(cpu)
	if err != nil {
		return nil, fmt.Errorf("CPU profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("CPU profile: %w", err)
	}
	return func() error {
		pprof.StopCPUProfile()
		return errors.Join(f.Close(), allocations())
	}, nil
}
