package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What is promised of Holdfast when its leader is killed, with an election timeout of 250 ms, and when it hands over.
const (
	failoverMedian = 450 * time.Millisecond
	failoverWorst  = 900 * time.Millisecond
	handoverWorst  = 50 * time.Millisecond
)

// failover kills the leader again and again under writers, hands leadership over as often, and restarts the leader.
func failover(ctx context.Context, s settings, out io.Writer) error {
	fmt.Fprintf(out, "%d writers on all members, election %v, %d times each\n\n", writerCount, s.election, s.times)
	var errs []error
	for _, engine := range s.engines {
		if engine != bare {
			errs = append(errs, failoverOf(ctx, s, engine, out))
		}
	}
	return errors.Join(errs...)
}

func failoverOf(ctx context.Context, s settings, engine string, out io.Writer) error {
	c, err := startCluster(ctx, engine, filepath.Join(s.dir, "failover"), func(spec *Spec) { spec.Election = s.election })
	if err != nil {
		return err
	}
	defer c.close()
	client, err := newWriter(c)
	if err != nil {
		return err
	}
	defer client.close()
	w := startWriters(ctx, client)
	defer w.stop()

	killed, err := repeat(ctx, c, w, s, func(leader int) (time.Duration, error) { return killLeader(ctx, c, w, leader) })
	if err != nil {
		return err
	}
	visible, text := w.failures()
	verdicts := []verdict{{"first write after kill -9 of the leader", killed, failoverMedian, failoverWorst}}
	if engine == holdfast {
		handed, err := repeat(ctx, c, w, s, func(leader int) (time.Duration, error) { return handOver(ctx, c, w, leader) })
		if err != nil {
			return err
		}
		verdicts = append(verdicts, verdict{"longest gap when leadership is handed over", handed, 0, handoverWorst})
		restarted, err := repeat(ctx, c, w, s, func(leader int) (time.Duration, error) { return restartLeader(ctx, c, w, leader) })
		if err != nil {
			return err
		}
		verdicts = append(verdicts, verdict{"longest gap when the leader is stopped and started", restarted, 0, 0})
		visible, text = w.failures()
	}
	w.stop()
	lost, doubled, err := w.check(ctx)
	if err != nil {
		return err
	}
	kept := true
	for _, v := range verdicts {
		kept = v.print(out, engine, engine == holdfast && !s.short) && kept
	}
	var writes uint64
	for _, n := range w.acknowledged {
		writes += n
	}
	fmt.Fprintf(out, "%s: %d writes acknowledged; %s; acknowledged writes lost %d, doubled %d\n", engine, writes, failed(engine, visible), lost, doubled)
	if visible > 0 {
		fmt.Fprintf(out, "  the last error: %s\n", text)
	}
	fmt.Fprintln(out)
	if engine == holdfast && !s.short && (!kept || visible+lost+doubled > 0) || lost > 0 {
		return errBroken
	}
	return nil
}

// failed says how many errors there were, and of what: the engines' clients do not do the same, so that their numbers are
// not to be compared.
func failed(engine string, n uint64) string {
	if engine == etcd {
		return fmt.Sprintf("attempts of %v that failed %d (its client makes one for each write here: what its callers would see depends on how they repeat it)", attemptTimeout, n)
	}
	return fmt.Sprintf("errors that callers saw %d (its client repeats, by default)", n)
}

// repeat does what as often as is asked for, each time when all is well, to whoever leads.
func repeat(ctx context.Context, c *cluster, w *writers, s settings, what func(leader int) (time.Duration, error)) ([]time.Duration, error) {
	var all []time.Duration
	for range s.times {
		if err := c.awaitAll(ctx); err != nil {
			return nil, err
		}
		pause(ctx, time.Second)
		leader, err := c.leader(ctx)
		if err != nil {
			return nil, err
		}
		took, err := what(leader)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.engine, err)
		}
		all = append(all, took)
		if s.timeline {
			n, _ := w.failures()
			fmt.Printf("  %s: %v, errors so far %d\n", c.engine, took.Round(100*time.Microsecond), n)
		}
	}
	return all, ctx.Err() //nolint:wrapcheck // nothing to add
}

// killLeader returns how long it took, from the signal on, to the first write that began when the leader was certainly gone.
func killLeader(ctx context.Context, c *cluster, w *writers, leader int) (time.Duration, error) {
	p := c.processes[leader]
	at := time.Now()
	p.kill()
	recovered := w.breaks(at)
	select {
	case <-recovered:
	case <-time.After(time.Minute):
		return 0, errors.New("no write has succeeded for a minute")
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	w.mu.Lock()
	took := w.first
	w.mu.Unlock()
	pause(ctx, 500*time.Millisecond)
	return took, p.restart(ctx)
}

func handOver(ctx context.Context, c *cluster, w *writers, leader int) (time.Duration, error) {
	at, _ := c.conns[leader].(*grpcConn)
	w.mark()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := at.transfer(ctx); err != nil {
		return 0, fmt.Errorf("hand over: %w", err)
	}
	pause(ctx, 300*time.Millisecond)
	gap, _ := w.gaps()
	return gap, nil
}

// restartLeader is what a rolling deployment does to a leader.
func restartLeader(ctx context.Context, c *cluster, w *writers, leader int) (time.Duration, error) {
	p := c.processes[leader]
	w.mark()
	p.terminate()
	err := p.restart(ctx)
	pause(ctx, 300*time.Millisecond)
	gap, _ := w.gaps()
	return gap, err
}

// verdict is what was measured, and what is promised of it; a promise of 0 is none.
type verdict struct {
	what          string
	all           []time.Duration
	median, worst time.Duration
}

func (v verdict) print(out io.Writer, engine string, judged bool) bool {
	sorted := slices.Sorted(slices.Values(v.all))
	median, worst := sorted[len(sorted)/2], sorted[len(sorted)-1]
	round := func(d time.Duration) string {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)), ".0")
	}
	each := make([]string, len(sorted))
	for i, d := range sorted {
		each[i] = round(d)
	}
	fmt.Fprintf(out, "%s: %s: median %s ms, worst %s ms (%s)", engine, v.what, round(median), round(worst), strings.Join(each, " "))
	kept := (v.median == 0 || median <= v.median) && (v.worst == 0 || worst <= v.worst)
	if judged && v.worst > 0 {
		if v.median > 0 {
			fmt.Fprintf(out, "; promised: median at most %s ms,", round(v.median))
		} else {
			fmt.Fprint(out, "; promised:")
		}
		fmt.Fprintf(out, " worst at most %s ms: %s", round(v.worst), map[bool]string{true: "kept", false: "NOT KEPT"}[kept])
	}
	fmt.Fprintln(out)
	return kept
}
