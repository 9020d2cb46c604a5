package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/report"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// suffer makes one fault happen at its time, and mends it. ctx is done when the drill is interrupted, offering when the load is
// over as well.
func (s *session) suffer(ctx, offering context.Context, f planned) {
	if !sleep(offering, f.At-s.rec.Now()) {
		return
	}
	if why := s.unbearable(offering, f); why != "" {
		s.skip(f, why)
		return
	}
	i := s.begun(f.Resolved)
	before, counts := s.suffered(offering, f)
	active, err := s.applier.Begin(offering, f.Resolved)
	switch {
	case err != nil && ctx.Err() != nil:
		s.ended(i, nil) // the drill says that it was interrupted
		return
	case err != nil && offering.Err() != nil:
		s.ended(i, failure.New(failure.FailedPrecondition, "the load was over before it was done"))
		return
	case err != nil:
		s.ended(i, err)
		return
	}
	begun, cut := s.rec.Now(), false
	if f.Kind.Lasts() && f.For > 0 {
		cut = !sleep(offering, f.For) && ctx.Err() == nil
	}
	mending, cancel := context.WithTimeout(context.WithoutCancel(ctx), mendTime)
	defer cancel()
	err = active.End(mending)
	// One that was written to last longer than the load ends with it, but one that came late was not done.
	if lasted := s.rec.Now() - begun; err == nil && cut && lasted < f.For/2 && f.At+f.For <= s.sc.For {
		err = failure.New(failure.FailedPrecondition, "the load was over after %s of it", inject.Span(lasted.Round(10*time.Millisecond)))
	}
	if f.random && errors.Is(err, inject.ErrNotSuffered) {
		s.skip(f, says(err)) // it hit who was down or frozen by another
		err = nil
	}
	s.ended(i, err)
	if err == nil && counts {
		s.lookWhetherHit(mending, i, f, before)
	}
}

// unbearable says why a random fault is not to be done after all: others of the service that it would hit are still missing,
// since what was to be over by now is not. "" is why not.
func (s *session) unbearable(ctx context.Context, f planned) string {
	if !f.random {
		return ""
	}
	instances, err := s.cfg.Control.Instances(ctx)
	if err != nil {
		return "" // what comes next says so
	}
	for _, svc := range s.world.Services {
		hit, missing := 0, []string(nil)
		for _, id := range svc.Instances {
			if slices.Contains(f.Targets, id) {
				hit++
			}
			if !slices.ContainsFunc(instances, func(i control.Instance) bool { return i.ID == id && i.State == "ready" }) &&
				(f.Kind == inject.Restart || !slices.Contains(f.Targets, id)) {
				missing = append(missing, id)
			}
		}
		if f.Kind == inject.Restart && hit > 0 {
			hit = bearable(len(svc.Instances))
		}
		if hit > 0 && len(missing) > 0 && hit+len(missing) > bearable(len(svc.Instances)) {
			return "not done, since " + strings.Join(missing, ", ") + " was still missing"
		}
	}
	return ""
}

func (s *session) skip(f planned, why string) {
	s.mu.Lock()
	s.skipped = append(s.skipped, fmt.Sprintf("%s at %s: %s", f.What, inject.Span(f.At), why))
	s.mu.Unlock()
	s.tell(f.What+": "+why, false)
}

// suffered is how often those whose calls are to fail have suffered anything yet. counts reports whether that can be told from
// a fault that does nothing: one that names methods, which nobody may call.
func (s *session) suffered(ctx context.Context, f planned) (sum uint64, counts bool) {
	if f.Kind != inject.Errors || len(f.Methods) == 0 {
		return 0, false
	}
	stats, err := s.cfg.Control.Stats(ctx)
	if err != nil {
		return 0, false
	}
	for _, id := range f.Targets {
		i, ok := stats.Instances[id]
		if !ok {
			return 0, false
		}
		sum += i.Suffered
	}
	return sum, true
}

// lookWhetherHit says of a fault that is over if it has hit nothing.
func (s *session) lookWhetherHit(ctx context.Context, i int, f planned, before uint64) {
	for range 4 { // they say twice a second how often
		if now, counts := s.suffered(ctx, f); !counts || now != before || !sleep(ctx, 500*time.Millisecond) {
			return
		}
	}
	why := "it hit no call: nobody called " + strings.Join(f.Methods, ", ")
	s.mu.Lock()
	s.happened[i].Error = why
	s.mu.Unlock()
	s.tell(f.What+": "+why, true)
}

// begun notes that a fault begins, and returns its place.
func (s *session) begun(f inject.Resolved) int {
	s.mu.Lock()
	s.happened = append(s.happened, report.Fault{Kind: string(f.Kind), What: f.What, Target: f.Targets, Begun: s.rec.Now()})
	s.broken = append(s.broken, f.What)
	if f.Kind == inject.Restart {
		s.restarting++
	}
	i := len(s.happened) - 1
	s.mu.Unlock()
	long := ""
	if f.For > 0 {
		long = " for " + inject.Span(f.For)
	}
	s.tell(f.What+long, false)
	return i
}

func (s *session) ended(i int, err error) {
	s.mu.Lock()
	f := &s.happened[i]
	now := s.rec.Now()
	if inject.Kind(f.Kind).Lasts() || inject.Kind(f.Kind) == inject.Restart {
		f.Ended = now
	}
	if inject.Kind(f.Kind) == inject.Restart {
		s.restarting--
	}
	if err != nil {
		f.Error = says(err)
	}
	if at := slices.Index(s.broken, f.What); at >= 0 {
		s.broken = slices.Delete(s.broken, at, at+1)
	}
	what, lasted := f.What, f.Ended > 0
	s.mu.Unlock()
	switch {
	case err != nil:
		s.tell(what+": "+says(err), true)
	case lasted:
		s.tell("over: "+what, false)
	}
}
