package check

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
)

// Acknowledged checks that each call of a kind that was acknowledged is there: At, filled with what that call was made with
// and what it kept, is answered as it expects.
type Acknowledged struct {
	Call   string // in the mix
	At     load.Call
	Within time.Duration // how long it is asked again; 0 is 10 s
}

type acknowledged struct {
	named
	passive
	cfg Acknowledged
	at  *load.Prepared
}

func (a *acknowledged) Prepare(ctx context.Context, w *World) error {
	vars, err := of(w, a.cfg.Call)
	if err == nil {
		a.cfg.At.Name = a.cfg.Call + " at"
		a.at, err = w.Caller.Prepare(ctx, vars, a.cfg.At)
	}
	return err
}

func (a *acknowledged) Judge(ctx context.Context, w *World) Verdict {
	all := a.acknowledgements(w.Record.Samples())
	asked := some(all, maxAsked, w.Seed)
	answers := make([]load.Sample, len(asked))
	each(ctx, asked, func(ctx context.Context, i int, s load.Sample) {
		answers[i] = ask(ctx, a.at, draw(w, 0x61636b, i), values(s), orDefault(a.cfg.Within, defaultWithin), good)
	})
	v := Verdict{Name: a.Name(), Answer: Holds}
	var lost findings
	open, last := 0, ""
	for i, s := range asked {
		switch x := answers[i]; {
		case x.Outcome == load.OK:
		case answered(x):
			lost.add(s.Due, fmt.Sprintf("acknowledged at %v, and not there: %s is answered with %s", s.Due.Round(time.Millisecond), shown(s), said(x)))
		default:
			open++
			last = said(x)
		}
	}
	lost.into(&v)
	v.Says = fmt.Sprintf("%s acknowledged, %d of them not there", count(len(all), "call was", "calls were"), len(lost.all))
	if len(asked) < len(all) {
		v.Says += fmt.Sprintf("; %d of them, drawn, were asked after", len(asked))
	}
	switch {
	case v.Answer == Broken:
	case open > 0:
		v.Answer = Unknown
		v.Says = fmt.Sprintf("of %s that were acknowledged, %d could not be asked after: %s", count(len(all), "call", "calls"), open, orText(last, "there was no time"))
	case len(all) == 0:
		v.Answer, v.Says = Unknown, "no call was acknowledged"
	}
	return v
}

// acknowledgements are those to ask after. One of a call that repeats another is one more only if it says something else, or if
// the first was not acknowledged.
func (a *acknowledged) acknowledgements(samples []load.Sample) (out []load.Sample) {
	seen := make(map[string]bool) // what is asked with
	for _, s := range samples {
		if s.Call != a.cfg.Call || s.Outcome != load.OK {
			continue
		}
		id := fmt.Sprintf("%q%q", s.Vars, s.Kept)
		if s.Again && seen[id] {
			continue
		}
		seen[id] = true
		out = append(out, s)
	}
	return out
}

func orText(s, usual string) string {
	if s == "" {
		return usual
	}
	return s
}

// shown is a call by what is known of it.
func shown(s load.Sample) string {
	text := s.Call
	for _, m := range []map[string]string{s.Kept, s.Vars} {
		for _, name := range sortedKeys(m) {
			text += fmt.Sprintf(" %s=%s", name, shorten(m[name]))
		}
	}
	return text
}
