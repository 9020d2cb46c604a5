package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/broker"
	"github.com/holdfast-go/holdfast/bench/internal/trial"
)

const (
	// cutOff is how long the engine cannot be reached.
	cutOff = 30 * time.Second
	// deadline is that of a publication meanwhile, late how long after it a publication may still take to say that it failed.
	deadline = 5 * time.Second
	late     = time.Second
	// spinning is how much of a processor a consumer may use that has nothing to do.
	spinning = 0.05
)

// cuts are the ways in which an engine cannot be reached.
var cuts = []struct {
	name string
	cut  func(*broker.Proxy)
}{
	{"refused", (*broker.Proxy).Refuse},
	{"silent", func(p *broker.Proxy) { p.Silence(true, true) }},
	{"answers lost", func(p *broker.Proxy) { p.Silence(false, true) }},
	{"questions lost", func(p *broker.Proxy) { p.Silence(true, false) }},
}

// partition cuts the engine off from all publishers and consumers, in each way, and looks what they do.
func partition(ctx context.Context, w *world) error {
	length, rate := w.r.Long(cutOff, 2*time.Second), 200
	calm := w.r.Long(10*time.Second, 2*time.Second)
	// Publishers go on for as long as it takes: there must be something to confirm after each cut.
	if err := w.start(ctx, spec{Keys: keys, Rate: rate, Deadline: deadline}, true); err != nil {
		return err
	}
	for _, c := range cuts {
		if !pause(ctx, calm) {
			return context.Cause(ctx)
		}
		if err := w.cut(ctx, c.name, c.cut, length); err != nil {
			return err
		}
	}
	if !pause(ctx, calm) {
		return context.Cause(ctx)
	}
	if err := os.WriteFile(filepath.Join(w.dir, enough), nil, 0o600); err != nil {
		return fmt.Errorf("tell publishers to end: %w", err)
	}
	if err := w.settle(ctx); err != nil {
		return err
	}
	v, err := w.judge(ctx)
	if err != nil {
		return err
	}
	v.report(w.r)
	return nil
}

// usage returns the CPU time of processes.
func usage(ps []*broker.Process) (all []time.Duration) {
	for _, p := range ps {
		all = append(all, broker.CPU(p.PID()))
	}
	return all
}

// cut cuts the engine off for a time, and waits until all flows again.
func (w *world) cut(ctx context.Context, name string, do func(*broker.Proxy), length time.Duration) error {
	before, err := w.store.count(ctx)
	if err != nil {
		return err
	}
	w.say("%s: cut off after %d effects", name, before)
	begun := time.Now()
	for _, p := range w.broker.Proxies {
		do(p)
	}
	// What is in hand is handled first.
	if !pause(ctx, length/6) {
		return context.Cause(ctx)
	}
	consumed, published, at := usage(w.consumers), usage(w.publishers), time.Now()
	if !pause(ctx, time.Until(begun.Add(length))) {
		return context.Cause(ctx)
	}
	idle := time.Since(at)
	share := func(now, then []time.Duration) float64 {
		most := time.Duration(0)
		for i := range now {
			most = max(most, now[i]-then[i])
		}
		return most.Seconds() / idle.Seconds()
	}
	consumersUse, publishersUse := share(usage(w.consumers), consumed), share(usage(w.publishers), published)
	for _, p := range w.broker.Proxies {
		p.Heal()
	}
	healed := time.Now()
	w.say("%s: healed; a consumer used %.1f %% of a processor, a publisher %.1f %%", name, 100*consumersUse, 100*publishersUse)
	first, flows, err := w.flowing(ctx, healed)
	if err != nil {
		return err
	}
	w.say("%s: a confirmation after %.1f s, an effect of what was published then after %.1f s", name, first.Seconds(), flows.Seconds())
	all, err := readPublished(w.dir)
	if err != nil {
		return err
	}
	failed, slowest, overdue, codes := complaints(all, begun, healed.Add(first))
	w.say("%s: %d publications failed, after at most %v: %s", name, failed, slowest.Round(time.Millisecond), codes)
	show := trial.Promise{}
	w.r.Add(name+": publications that failed", float64(failed), trial.Count, show)
	w.r.Add(name+": their slowest answer", slowest.Seconds(), trial.Seconds, show)
	w.r.Add(name+": of this after the deadline", overdue.Seconds(), trial.Seconds, trial.AtMost(late.Seconds()).Always())
	w.r.Add(name+": answers that are not clear", float64(unclear(all, begun)), trial.Count, trial.AtMost(0).Always())
	w.r.Add(name+": of a processor, a consumer", consumersUse, trial.Share, trial.AtMost(spinning).Always())
	w.r.Add(name+": of a processor, a publisher", publishersUse, trial.Share, show)
	w.r.Add(name+": until something is confirmed again", first.Seconds(), trial.Seconds, show)
	w.r.Add(name+": until that has had its effect", flows.Seconds(), trial.Seconds, show)
	return nil
}

// flowing waits until a message is confirmed that was published after a moment, and until that message has had its
// effect.
func (w *world) flowing(ctx context.Context, since time.Time) (first, flows time.Duration, err error) {
	var sign published
	for {
		if err := w.check(); err != nil {
			return 0, 0, err
		}
		all, err := readPublished(w.dir)
		if err != nil {
			return 0, 0, err
		}
		if i := slices.IndexFunc(all, func(p published) bool { return p.Code == "" && p.At.After(since) }); i >= 0 {
			sign = all[i]
			break
		}
		if time.Since(since) > patience {
			return 0, 0, fmt.Errorf("nothing is confirmed %v after all was well", patience)
		}
		if !pause(ctx, 100*time.Millisecond) {
			return 0, 0, context.Cause(ctx)
		}
	}
	for {
		effects, err := w.store.effects(ctx)
		if err != nil {
			return 0, 0, err
		}
		if i := slices.IndexFunc(effects, func(h happened) bool { return h.payload == payload{Key: sign.Payload.Key, Seq: sign.Payload.Seq} }); i >= 0 {
			return sign.At.Sub(since), max(0, effects[i].at.Sub(since)), nil
		}
		if time.Since(since) > patience {
			return 0, 0, fmt.Errorf("message %s has no effect %v after all was well", sign.Payload.id(), patience)
		}
		if !pause(ctx, 200*time.Millisecond) {
			return 0, 0, context.Cause(ctx)
		}
	}
}

// complaints returns what failed between two moments, how long the slowest took to say so, how much of that was after its
// deadline, and the codes.
func complaints(all []published, from, to time.Time) (failed int, slowest, overdue time.Duration, codes string) {
	by := map[string]int{}
	for _, p := range all {
		if p.Code != "" && p.At.After(from) && p.At.Before(to.Add(deadline)) {
			failed++
			slowest, overdue = max(slowest, p.Took), max(overdue, p.Late)
			by[p.Code]++
		}
	}
	var words []string
	for code, n := range by {
		words = append(words, fmt.Sprintf("%d %s", n, code))
	}
	slices.Sort(words)
	return failed, slowest, overdue, strings.Join(words, ", ")
}

// clearCodes are the codes that say what is the matter when an engine cannot be reached.
var clearCodes = []string{"UNAVAILABLE", "DEADLINE_EXCEEDED"}

// unclear returns how many publications failed since with another code.
func unclear(all []published, since time.Time) (n int) {
	for _, p := range all {
		if p.Code != "" && p.At.After(since) && !slices.Contains(clearCodes, p.Code) {
			n++
		}
	}
	return n
}
