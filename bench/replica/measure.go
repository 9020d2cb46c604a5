package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// keyCount is how many keys there are, and valueBytes how long each value is.
const (
	keyCount   = 10_000
	valueBytes = 128
)

// keyNames is the keys, made once.
var keyNames = sync.OnceValue(func() []string {
	names := make([]string, keyCount)
	for i := range names {
		names[i] = fmt.Sprintf("key-%06d", i)
	}
	return names
})

var value = strings.Repeat("v", valueBytes)

// mode is what the clients do.
type mode struct {
	name string
	// leader: all clients are at the leader; otherwise they are spread over all members.
	leader bool
	do     func(ctx context.Context, c conn, key string) error
	// not is an engine that does not have it.
	not string
}

var modes = []mode{
	{name: "put", do: put},
	{name: "put at the leader", leader: true, do: put},
	{name: "put once", not: etcd, do: func(ctx context.Context, c conn, key string) error { return c.putOnce(ctx, key, value) }},
	{name: "linearizable read", do: func(ctx context.Context, c conn, key string) error { return c.get(ctx, key, false) }},
	{name: "stale read", do: func(ctx context.Context, c conn, key string) error { return c.get(ctx, key, true) }},
}

func put(ctx context.Context, c conn, key string) error { return c.put(ctx, key, value) }

// result is what one round of one engine was like.
type result struct {
	rate     float64 // operations a second
	p50, p99 time.Duration
	members  time.Duration // CPU time of all members, an operation
	client   time.Duration // CPU time of this process, an operation
	rss      int64         // of the largest member
	shed     float64       // how often a call was turned away, an operation
}

// measure has n clients do what mode says for d, each one operation after the other, and returns what that was like.
// Operations before d/5 is over are not counted: caches and adaptive limits get going again.
func measure(ctx context.Context, c *cluster, m mode, n int, d time.Duration) (result, error) {
	leader := 0
	if m.leader {
		var err error
		if leader, err = c.leader(ctx); err != nil {
			return result{}, err
		}
	}
	var wg sync.WaitGroup
	failed, latencies := make([]error, n), make([][]time.Duration, n)
	names := keyNames()
	c.shed()
	start := time.Now()
	warm, end := start.Add(d/5), start.Add(d+d/5)
	for i := range n {
		latencies[i] = make([]time.Duration, 0, int(d.Seconds()*60_000)/n+1000)
		at := c.conns[i%len(c.conns)]
		if m.leader {
			at = c.conns[leader]
		}
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(start.UnixNano())))   //nolint:gosec // which key
			for now := time.Now(); now.Before(end) || len(latencies[i]) == 0; { // one at least, should all have stood still
				if err := m.do(ctx, at, names[rng.IntN(keyCount)]); err != nil {
					failed[i] = err
					return
				}
				then := now
				now = time.Now()
				if then.After(warm) {
					latencies[i] = append(latencies[i], now.Sub(then))
				}
			}
		})
	}
	pause(ctx, time.Until(warm))
	membersCPU, clientCPU, counted := c.cpu(), processTime(), time.Now()
	wg.Wait()
	took := time.Since(counted)
	membersCPU, clientCPU = c.cpu()-membersCPU, processTime()-clientCPU
	if err := errors.Join(failed...); err != nil {
		return result{}, fmt.Errorf("%s, %s, %d clients: %w", c.engine, m.name, n, err)
	}
	all := slices.Concat(latencies...)
	slices.Sort(all)
	ops := len(all)
	return result{
		rate:    float64(ops) / took.Seconds(),
		p50:     all[ops/2],
		p99:     all[ops*99/100],
		members: membersCPU / time.Duration(ops),
		client:  clientCPU / time.Duration(ops),
		rss:     c.rss(),
		shed:    float64(c.shed()) / float64(ops),
	}, nil
}

// processTime returns the CPU time that this process has used.
func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// interleave measures the engines in turn, round by round, each round in another order.
func interleave(ctx context.Context, clusters []*cluster, m mode, n int, s settings) ([][]result, error) {
	results := make([][]result, len(clusters))
	for round := range s.rounds {
		for i := range clusters {
			j := (i + round) % len(clusters)
			r, err := measure(ctx, clusters[j], m, n, s.round)
			if err != nil {
				return nil, err
			}
			results[j] = append(results[j], r)
		}
	}
	return results, nil
}
