package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

const (
	// maxInFlight bounds the calls that are under way: a system that has no bounds of its own must not end this process.
	maxInFlight = 10_000
	maxRate     = 1e5 // calls a second
	maxLength   = 24 * time.Hour
	// watchEvery is how often this process looks whether it gets to run.
	watchEvery = 10 * time.Millisecond
)

// Load is a mix that can be offered.
type Load struct {
	mix   Mix
	vars  []variable // in an order in which each stands after what it uses
	calls []*Prepared
}

type variable struct {
	name string
	Template
}

// New looks whether a mix can be offered at all, as [Caller.Prepare] does with each of its calls.
func New(ctx context.Context, mix Mix, caller *Caller) (*Load, error) {
	l := &Load{mix: mix}
	err := mix.validate()
	vars, more := order(mix.Vars)
	err, l.vars = errors.Join(err, more), vars
	names := slices.Collect(maps.Keys(mix.Vars))
	for _, call := range mix.Calls {
		p, more := caller.Prepare(ctx, names, call)
		if more == nil {
			p.uses = mix.with(p.uses)
		}
		err, l.calls = errors.Join(err, more), append(l.calls, p)
	}
	if err != nil {
		return nil, failure.Wrap(err, failure.CodeOf(err), "load: %s", says(err))
	}
	return l, nil
}

func (m Mix) validate() error {
	var err error
	wrong := func(format string, args ...any) { err = errors.Join(err, invalid(format, args...)) }
	if len(m.Calls) == 0 || len(m.Steps) == 0 {
		wrong("there are no calls, or no rate")
	}
	var sum float64
	for _, c := range m.Calls {
		if !(c.Weight >= 0) || math.IsInf(c.Weight, 0) || !(c.Again >= 0 && c.Again <= 1) {
			wrong("%s: a weight is a number from 0 on, and again one from 0 to 1", c.Name)
		}
		sum += c.Weight
	}
	if sum <= 0 && len(m.Calls) > 0 {
		wrong("no call has a weight")
	}
	for _, s := range m.Steps {
		if s.For <= 0 || !(s.From >= 0 && s.From <= maxRate) || !(s.To >= 0 && s.To <= maxRate) {
			wrong("a rate is from 0 to %g calls a second, for some time", float64(maxRate))
		}
	}
	if m.Length() > maxLength {
		wrong("it lasts %v, which is more than %v", m.Length(), maxLength)
	}
	return err
}

// Used returns the names of the variables that a call of the mix is made with, those among them that others are made of: what its
// samples know. What is wrong with the call [New] says.
func (m Mix) Used(call Call) []string {
	p := &Prepared{call: call}
	if p.compile() != nil {
		return nil
	}
	return slices.DeleteFunc(m.with(p.uses), func(name string) bool { _, ok := m.Vars[name]; return !ok })
}

// with returns names, and those that they are made of.
func (m Mix) with(names []string) []string {
	out := slices.Clone(names)
	for i := 0; i < len(out); i++ {
		t, _ := Compile(m.Vars[out[i]]) // of one that is wrong New has said so
		for _, name := range t.Names() {
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// order compiles variables and puts each after those that it uses.
func order(vars map[string]string) (out []variable, err error) {
	placed, left := make(map[string]bool), make(map[string]Template)
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		t, problem := Compile(vars[name])
		if problem == nil && !validName(name) {
			problem = invalid("it is no name: letters, digits, - and _")
		}
		if problem != nil {
			err = errors.Join(err, invalid("vars: %s: %s", cut(name, 80), says(problem)))
		}
		left[name] = t
	}
	for len(left) > 0 {
		before := len(left)
		for _, name := range slices.Sorted(maps.Keys(left)) {
			ready := !slices.ContainsFunc(left[name].Names(), func(used string) bool { return !placed[used] })
			if ready {
				out, placed[name] = append(out, variable{name, left[name]}), true
				delete(left, name)
			}
		}
		if len(left) == before {
			return nil, errors.Join(err, invalid("vars: %s use what is not known, or one another", slices.Sorted(maps.Keys(left))))
		}
	}
	return out, err
}

// after returns when, from at on, so many calls would have come at this rate: with e drawn from an exponential distribution of
// mean 1, when the next one does. ok is false if that is after the end.
func (m Mix) after(at time.Duration, e float64) (due time.Duration, ok bool) {
	begin := time.Duration(0)
	for _, s := range m.Steps {
		end := begin + s.For
		if at < end {
			t0, length := (max(at, begin) - begin).Seconds(), s.For.Seconds()
			slope := (s.To - s.From) / length
			rate := s.From + slope*t0 // now
			if all := (rate + s.To) / 2 * (length - t0); e >= all {
				e -= all
			} else {
				// rate·t + slope·t²/2 = e, in the form that loses nothing when slope is small.
				t := 2 * e / (rate + math.Sqrt(max(0, rate*rate+2*slope*e)))
				return begin + time.Duration((t0+t)*float64(time.Second)), true
			}
		}
		begin = end
	}
	return 0, false
}

// Run offers the load to the recorder until its steps are over or ctx is done, and waits for the last answer. Calls whose
// answer had not come when ctx was done are not recorded. What becomes of calls is no error. It may be called once.
func (l *Load) Run(ctx context.Context, rec *Recorder) {
	rec.Start()
	rng := rand.New(rand.NewPCG(l.mix.Seed, 0x6c6f6164)) //nolint:gosec // arrivals are to be the same each time
	var under sync.WaitGroup
	watched, stop := context.WithCancel(ctx)
	defer under.Wait()
	defer stop()
	under.Go(func() { watch(watched, rec) })
	slots := make(chan struct{}, maxInFlight)
	begin, at := rec.Now(), time.Duration(0)
	for seq := l.mix.First; ; seq++ {
		due, ok := l.mix.after(at, rng.ExpFloat64())
		if !ok {
			_ = until(ctx, rec, begin+l.mix.Length())
			return
		}
		at = due
		p, m, again := l.draw(rng, seq)
		if !until(ctx, rec, begin+due) {
			return
		}
		select {
		case slots <- struct{}{}:
		default: // a call that could not even be made has failed
			rec.Add(Sample{
				Call: p.call.Name, Due: begin + due, Took: rec.Now() - begin - due, Outcome: Failed, Vars: p.used(m.vars),
				Error: fmt.Sprintf("not sent: %d calls were under way, unanswered", maxInFlight),
			})
			continue
		}
		under.Go(func() {
			defer func() { <-slots }()
			s := p.offer(ctx, rec, begin+due, m)
			if again && s {
				p.again(ctx, rec, m)
			}
		})
	}
}

// draw decides what the next call is.
func (l *Load) draw(rng *rand.Rand, seq int64) (p *Prepared, m made, again bool) {
	var sum float64
	for _, c := range l.mix.Calls {
		sum += c.Weight
	}
	x := rng.Float64() * sum
	for i, c := range l.mix.Calls {
		if x -= c.Weight; x < 0 && c.Weight > 0 {
			p = l.calls[i]
			break
		}
	}
	if p == nil { // x was at the end, and rounded
		p = l.calls[slices.IndexFunc(l.mix.Calls, func(c Call) bool { return c.Weight > 0 })]
	}
	d := Draw{Rand: rng, Seq: seq, Run: p.run}
	vars := make(Values, len(l.vars))
	for _, v := range l.vars {
		vars[v.name] = v.Fill(d, vars)
	}
	m = p.make(d, vars)
	return p, m, p.call.Again > 0 && rng.Float64() < p.call.Again
}

// offer makes a call and records it, unless ctx was done before its answer came.
func (p *Prepared) offer(ctx context.Context, rec *Recorder, due time.Duration, m made) bool {
	late := rec.Now() - due
	s := p.do(ctx, m)
	if ctx.Err() != nil && s.Outcome == Failed {
		return false
	}
	s.Due, s.Late, s.Took = due, late, rec.Now()-due
	rec.Add(s)
	return true
}

// again makes a call a second time.
func (p *Prepared) again(ctx context.Context, rec *Recorder, m made) {
	due := rec.Now()
	s := p.do(ctx, m)
	if ctx.Err() != nil && s.Outcome == Failed {
		return
	}
	s.Due, s.Took, s.Again = due, rec.Now()-due, true
	rec.Add(s)
}

// until waits until the clock shows at, and reports whether it did so before ctx was done.
func until(ctx context.Context, rec *Recorder, at time.Duration) bool {
	if d := at - rec.Now(); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

// watch notes how long this process did not get to run, at most: answers that came meanwhile look late, too.
func watch(ctx context.Context, rec *Recorder) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for last := rec.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			now := rec.Now()
			rec.heldUp(max(0, now-last-watchEvery))
			last = now
		}
	}
}
