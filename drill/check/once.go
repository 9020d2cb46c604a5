package check

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
)

// Once checks that each call of a kind had its effect at most once, and if it was acknowledged exactly once; none, if all it
// got was a refusal. Calls with the same value of By, a variable, are the same. List, filled with what such a call was made
// with and kept, is answered with the number of effects, and keeps it as "count"; without a List, only that all
// acknowledgements of the same call kept the same is checked.
type Once struct {
	Call   string
	By     string // "" is "key"
	List   *load.Call
	Within time.Duration // how long it is asked again while an effect is missing; 0 is 10 s
}

type once struct {
	named
	passive
	cfg  Once
	list *load.Prepared
}

func (o *once) Prepare(ctx context.Context, w *World) error {
	if o.cfg.By == "" {
		o.cfg.By = "key"
	}
	vars, err := of(w, o.cfg.Call)
	switch {
	case err != nil:
	case !contains(vars, o.cfg.By):
		err = invalid("the calls of %s are told apart by %s, which they are not made with", o.cfg.Call, o.cfg.By)
	case o.cfg.List == nil && !slices.ContainsFunc(w.Mix.Calls, func(c load.Call) bool { return c.Name == o.cfg.Call && len(c.Keep) > 0 }):
		err = invalid("without list what the acknowledgements of %s keep is compared, and it keeps nothing: add list, or keep", o.cfg.Call)
	case o.cfg.List != nil && o.cfg.List.Keep["count"] == "":
		err = invalid("list does not keep count: keep: {count: \"orders.#\"}")
	case o.cfg.List != nil:
		o.cfg.List.Name = o.cfg.Call + " list"
		o.list, err = w.Caller.Prepare(ctx, vars, *o.cfg.List)
	}
	return err
}

// group are the calls that are the same.
type group struct {
	id                          string
	acknowledged, failed, again int
	sample                      load.Sample // the first that was acknowledged, or the first
}

// groups sorts calls by what makes them the same. Acknowledgements that kept something else are found.
func (o *once) groups(samples []load.Sample) (out []*group, wrong findings) {
	byID := make(map[string]*group)
	for _, s := range samples {
		id := s.Vars[o.cfg.By]
		if s.Call != o.cfg.Call || id == "" {
			continue
		}
		g := byID[id]
		if g == nil {
			g = &group{id: id, sample: s}
			byID[id], out = g, append(out, g)
		} else {
			g.again++
		}
		switch s.Outcome {
		case load.OK:
			if g.acknowledged++; g.acknowledged == 1 {
				g.sample = s
			} else if !maps.Equal(g.sample.Kept, s.Kept) {
				wrong.add(s.Due, fmt.Sprintf("%s=%s was acknowledged twice, as %v and as %v", o.cfg.By, shorten(id), g.sample.Kept, s.Kept))
			}
		case load.Failed:
			g.failed++
		case load.Refused:
		}
	}
	return out, wrong
}

// counted is how many effects a call had.
type counted struct {
	n     int
	known bool
	says  string
}

func (o *once) Judge(ctx context.Context, w *World) Verdict {
	all, wrong := o.groups(w.Record.Samples())
	v := Verdict{Name: o.Name(), Answer: Holds}
	if len(all) == 0 {
		v.Answer, v.Says = Unknown, "no call was made"
		return v
	}
	again := 0
	for _, g := range all {
		again += min(g.again, 1)
	}
	v.Says = fmt.Sprintf("%s, %d of them made more than once", count(len(all), "call", "calls"), again)
	if o.list != nil {
		asked := some(all, maxAsked, w.Seed)
		counts := make([]counted, len(asked))
		each(ctx, asked, func(ctx context.Context, i int, g *group) { counts[i] = o.count(ctx, w, i, g) })
		open, last := 0, "there was no time"
		for i, g := range asked {
			switch n := counts[i]; {
			case !n.known:
				open++
				last = orText(n.says, last)
			case n.n > 1:
				wrong.add(g.sample.Due, fmt.Sprintf("%s happened %d times", shown(g.sample), n.n))
			case n.n == 0 && g.acknowledged > 0:
				wrong.add(g.sample.Due, fmt.Sprintf("%s was acknowledged and did not happen", shown(g.sample)))
			case n.n == 1 && g.acknowledged == 0 && g.failed == 0:
				wrong.add(g.sample.Due, fmt.Sprintf("%s was refused (%s) and happened", shown(g.sample), said(g.sample)))
			}
		}
		if open > 0 && len(wrong.all) == 0 {
			v.Answer = Unknown
			v.Says += fmt.Sprintf("; %d could not be counted: %s", open, last)
			return v
		}
		if len(asked) < len(all) {
			v.Says += fmt.Sprintf("; %d of them, drawn, were counted", len(asked))
		}
	}
	if o.list == nil && len(wrong.all) == 0 && !slices.ContainsFunc(all, func(g *group) bool { return g.acknowledged > 1 }) {
		v.Answer = Unknown
		v.Says += "; none was acknowledged twice, so there is nothing to compare (again:, or list)"
		return v
	}
	wrong.into(&v)
	v.Says += fmt.Sprintf("; %d not once", len(wrong.all))
	return v
}

// count asks how many effects a call had; for a while, if one is missing.
func (o *once) count(ctx context.Context, w *World, i int, g *group) counted {
	number := func(s load.Sample) (int, bool) {
		n, err := strconv.Atoi(s.Kept["count"])
		return n, err == nil && s.Outcome == load.OK
	}
	s := ask(ctx, o.list, draw(w, 0x6f6e6365, i), values(g.sample), orDefault(o.cfg.Within, defaultWithin), func(s load.Sample) bool {
		n, ok := number(s)
		return ok && (n > 0 || g.acknowledged == 0)
	})
	n, ok := number(s)
	if !ok && s.Outcome == load.OK {
		return counted{says: fmt.Sprintf("count is %q, which is no number", shorten(s.Kept["count"]))}
	}
	return counted{n, ok, said(s)}
}

func contains(all []string, s string) bool {
	for _, x := range all {
		if x == s {
			return true
		}
	}
	return false
}
