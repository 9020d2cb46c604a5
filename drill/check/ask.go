package check

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-go/holdfast/drill/load"
)

const (
	defaultWithin = 10 * time.Second
	askEvery      = 250 * time.Millisecond // the pause before a question is asked again
	askAtOnce     = 16
	// maxAsked bounds how many acknowledged calls are asked after. Of more, so many are drawn.
	maxAsked = 20_000
)

// ask asks until it is answered in a way that enough is satisfied with, for so long, and returns the last answer.
func ask(ctx context.Context, p *load.Prepared, d load.Draw, vars load.Values, within time.Duration, enough func(load.Sample) bool) load.Sample {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	last := load.Sample{Outcome: load.Failed, Error: "it was not asked: there was no time"}
	for ctx.Err() == nil {
		s := p.Do(ctx, d, vars)
		if enough(s) {
			return s
		}
		if ctx.Err() == nil || last.Status == "" {
			last = s // what was said says more than that there was no time to say it
		}
		if !wait(ctx, askEvery) {
			break
		}
	}
	return last
}

func good(s load.Sample) bool { return s.Outcome == load.OK }

// answered reports whether a system has said what it knows: an error of its own (503, UNAVAILABLE) says nothing of what was
// asked, and neither does a yes with nothing in it.
func answered(s load.Sample) bool {
	if s.Empty {
		return false
	}
	switch s.Status {
	case "", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "UNKNOWN", "UNAUTHENTICATED", "PERMISSION_DENIED":
		return false
	case "401", "403", "408", "425", "429":
		return false
	}
	return !strings.HasPrefix(s.Status, "5")
}

// said is an answer in words.
func said(s load.Sample) string {
	switch {
	case s.Outcome == load.OK && s.Error == "":
		return s.Status
	case s.Status == "":
		return s.Error
	case s.Error == "":
		return s.Status
	default:
		return s.Status + ": " + s.Error
	}
}

// values are what a call was made with and what it kept.
func values(s load.Sample) load.Values {
	out := make(load.Values, len(s.Vars)+len(s.Kept))
	for name, v := range s.Vars {
		out[name] = load.Value{Text: v}
	}
	for name, v := range s.Kept {
		out[name] = load.Value{Text: v}
	}
	return out
}

// of returns the call of a mix that has this name, and the names of what its samples know.
func of(w *World, name string) (vars []string, err error) {
	var names []string
	for _, c := range w.Mix.Calls {
		if c.Name != name {
			names = append(names, c.Name)
			continue
		}
		vars = w.Mix.Used(c)
		for v := range c.Keep {
			vars = append(vars, v)
		}
		if c.Key != "" {
			vars = append(vars, "key")
		}
		return vars, nil
	}
	return nil, invalid("the load has no call %s; it has %s", name, strings.Join(names, ", "))
}

// each asks about many things, some at a time, and returns when all are answered or ctx is done.
func each[T any](ctx context.Context, all []T, do func(ctx context.Context, i int, t T)) {
	var group errgroup.Group
	group.SetLimit(askAtOnce)
	for i, t := range all {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			do(ctx, i, t)
			return nil
		})
	}
	_ = group.Wait() // they return none
}

// some returns at most n of all, drawn, in their order.
func some[T any](all []T, n int, seed uint64) []T {
	if len(all) <= n {
		return all
	}
	rng := rand.New(rand.NewPCG(seed, 0x736f6d65)) //nolint:gosec // the same each time
	out := make([]T, 0, n)
	for i, t := range all { // selection sampling (Knuth, TAOCP 2, 3.4.2 S)
		if rng.IntN(len(all)-i) < n-len(out) {
			out = append(out, t)
		}
	}
	return out
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// draw is what the questions of a check draw from.
func draw(w *World, salt uint64, seq int) load.Draw {
	return load.Draw{Rand: rand.New(rand.NewPCG(w.Seed, salt+uint64(seq))), Seq: int64(seq)} //nolint:gosec // the same each time
}
