package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/bench/echo/echopb"
)

// result is what one round of one way was like.
type result struct {
	rate     float64 // calls a second
	p50, p99 time.Duration
	cpu      time.Duration // of the process, a call
	allocs   float64       // of the process, a call
	bytes    float64
	sleeps   float64 // of threads, a call: each is woken by another one, which costs most where nothing else is to be done
}

// interleave measures the ways in turn, round by round, each round in another order. A short round before each one that
// counts gets the timers, pools and connections of that way going again.
func interleave(ctx context.Context, ways []way, s settings, c int) ([][]result, error) {
	results := make([][]result, len(ways))
	for round := range s.rounds {
		for i := range ways {
			j := (i + round) % len(ways)
			if _, err := measure(ctx, ways[j], s.size, c, s.round/10); err != nil {
				return nil, err
			}
			runtime.GC()
			r, err := measure(ctx, ways[j], s.size, c, s.round)
			if err != nil {
				return nil, err
			}
			results[j] = append(results[j], r)
		}
	}
	return results, nil
}

// measure makes calls by w, c at a time, for d.
func measure(ctx context.Context, w way, size, c int, d time.Duration) (result, error) {
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
	cpu, sleeps := used()
	start := time.Now()
	end := start.Add(d)
	for i := range c {
		wg.Go(func() {
			req := &echopb.EchoRequest{Body: make([]byte, size)}
			for now := time.Now(); now.Before(end); {
				if err := w.call(ctx, req); err != nil {
					failed[i] = fmt.Errorf("%s: %w", w.name, err)
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
	cpuAfter, sleepsAfter := used()
	runtime.ReadMemStats(&after)
	for _, err := range failed {
		if err != nil {
			return result{}, err
		}
	}
	all := slices.Concat(latencies...)
	slices.Sort(all)
	n := len(all)
	return result{
		rate:   float64(n) / took.Seconds(),
		p50:    all[n/2],
		p99:    all[n*99/100],
		cpu:    (cpuAfter - cpu) / time.Duration(n),
		allocs: float64(after.Mallocs-before.Mallocs) / float64(n),
		bytes:  float64(after.TotalAlloc-before.TotalAlloc) / float64(n),
		sleeps: float64(sleepsAfter-sleeps) / float64(n),
	}, nil
}
