package autoscale

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/scale"
)

// States of instances, as the supervisor calls them. Those that are draining or stopped are on their way out, and all others are
// missing.
const (
	ready    = "ready"
	starting = "starting"
	draining = "draining"
	stopped  = "stopped"
)

const (
	// retryMin and retryMax are how long a step waits after one that failed.
	retryMin = 10 * time.Second
	retryMax = 5 * time.Minute
	// silence is how long nothing is known of a service until that is said.
	silence = 10 * time.Second
)

// service is what a Scaler knows of one service. All of it is guarded by Scaler.mu.
type service struct {
	name   string
	policy scale.Policy
	state  scale.State
	last   scale.Decision
	served served
	limits limits

	step     *step     // that is under way; nil if none is
	failures int       // steps in a row that failed
	retryAt  time.Time // before that, no step up is begun

	byHand string             // why the number was set by hand; "" if it was not
	holds  map[*hold]struct{} // those who want it left alone

	silent     time.Time // since when something is not known
	toldSilent bool
	toldFull   bool
}

type hold struct{ why string }

// step is a change of scale that is under way.
type step struct {
	cancel context.CancelFunc
	done   chan struct{} // closed at the end
}

// held is why the number is left alone, "" if it is not.
func (svc *service) held() string {
	for h := range svc.holds {
		return h.why
	}
	return svc.byHand
}

// Hold leaves the number of a service alone until release is called, which may be called more than once. Holds add up. A step
// that is under way is over when Hold returns: the number that it has set stays until somebody sets another. A service that
// is not scaled needs no hold.
func (s *Scaler) Hold(name, why string) (release func()) {
	h := &hold{why}
	svc := s.stop(name, func(svc *service) { svc.holds[h] = struct{}{} })
	if svc == nil {
		return func() {}
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(svc.holds, h)
	}
}

// Pause leaves the number of a service alone until Resume, as Hold does. It reports whether the service was scaled until now.
func (s *Scaler) Pause(name, why string) (was bool) {
	s.stop(name, func(svc *service) {
		was = svc.byHand == ""
		svc.byHand = why
	})
	return was
}

// stop changes a service so that no step is begun, and waits for the end of the one that is under way.
func (s *Scaler) stop(name string, change func(*service)) *service {
	if s == nil || s.services[name] == nil { // the map is never changed
		return nil
	}
	svc := s.services[name]
	s.mu.Lock()
	change(svc)
	under := svc.step
	s.mu.Unlock()
	if under != nil {
		under.cancel()
		<-under.done
	}
	return svc
}

// Resume takes back Pause. A service that has no policy is a failure.FailedPrecondition; one that was not paused is none.
func (s *Scaler) Resume(name string) error {
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if svc := s.services[name]; svc != nil {
			svc.byHand = ""
			return nil
		}
	}
	return failure.New(failure.FailedPrecondition, "%s is not scaled by itself: there is no autoscale at it in the system file", name)
}

// Status is what a service is scaled by, and what becomes of that.
type Status struct {
	Min, Max int
	// Wish is how many instances its metrics ask for now, 0 while that is not known. Why names the metric that asks for
	// most, in words.
	Wish int
	Why  string
	// Waits is why there are not as many yet, in words, "" if there are.
	Waits string
	// Paused is why the number is left alone, "" if it is not.
	Paused string
}

// Status describes a service; ok is false for one that is not scaled.
func (s *Scaler) Status(name string) (st Status, ok bool) {
	if s == nil {
		return Status{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	svc := s.services[name]
	if svc == nil {
		return Status{}, false
	}
	return Status{Min: svc.policy.Min, Max: svc.policy.Max, Wish: svc.last.Wish, Why: svc.last.Why, Waits: waits[svc.last.Held], Paused: svc.held()}, true
}

// waits are for people; what is at its bounds waits for nothing.
var waits = map[scale.Held]string{
	scale.Window:   "not for long enough yet",
	scale.Step:     "another step follows",
	scale.Starting: "what was started does not serve yet",
	scale.Missing:  "an instance is missing",
	scale.Unknown:  "not all of them say how they are",
	scale.Down:     "none of them serves",
	scale.Full:     "the processors of this machine are used up",
	scale.AtMax:    "at its maximum",
}

// reportSilent says once what of a service is not known, when that lasts.
func (svc *service) reportSilent(now time.Time, silent []string) (messages []string) {
	switch {
	case len(silent) == 0:
		svc.silent, svc.toldSilent = time.Time{}, false
	case svc.silent.IsZero():
		svc.silent = now
	case !svc.toldSilent && now.Sub(svc.silent) >= silence:
		svc.toldSilent = true
		return []string{fmt.Sprintf("%s is not scaled down while this is not known: %s", svc.name, strings.Join(silent, "; "))}
	}
	return nil
}

// reportFull says once that there is no room to grow.
func (svc *service) reportFull(processors float64) (messages []string) {
	d := svc.last
	switch {
	case d.Held == scale.Full && !svc.toldFull:
		svc.toldFull = true
		return []string{fmt.Sprintf("%s stays at %d, although %d are asked for (%s): this machine's processors, %g, are all in use",
			svc.name, d.Replicas, d.Wish, d.Why, processors)}
	case d.Wish <= d.Replicas:
		svc.toldFull = false
	}
	return nil
}

// sample is what is known of a service, and in words what is not although it should be. It takes note of what is remembered.
func sample(svc *service, wanted int, v view, polls []poll) (x scale.Sample, silent []string) {
	x = scale.Sample{Wanted: wanted, Full: v.full, Lost: svc.served.lost(v.now, svc.name, v.instances)}
	svc.limits.learn(svc.name, v)
	var serving []control.Instance
	for _, i := range v.instances {
		if i.Service != svc.name {
			continue
		}
		switch i.State {
		case ready:
			serving = append(serving, i)
		case starting:
			x.Starting++
		}
	}
	x.Ready = len(serving)
	for n, t := range svc.policy.Targets {
		r, missing := svc.read(t, serving, v, polls[n])
		x.Readings = append(x.Readings, r)
		if len(missing) > 0 {
			silent = append(silent, fmt.Sprintf("%s of %s", t.Metric, strings.Join(missing, ", ")))
		}
	}
	return x, silent
}

// read is what the ready instances have of a metric together, and of whom it is not known.
func (svc *service) read(t scale.Target, serving []control.Instance, v view, p poll) (r scale.Reading, missing []string) {
	if t.Metric == scale.Lag {
		sum, ok := p.value("", v.now)
		if !ok {
			return scale.Reading{}, []string{t.Topic}
		}
		return scale.Reading{Sum: sum, Whole: true}, nil
	}
	for _, i := range serving {
		value, ok := 0.0, false
		s, said := v.said(i)
		switch t.Metric {
		case scale.CPU:
			value, ok = v.cpu[i.ID]
		case scale.Custom:
			value, ok = p.value(i.ID, v.now)
		case scale.InFlight:
			value, ok = float64(s.InFlight+s.Waiting), said
		case scale.Limiter:
			if said {
				value, ok = svc.limits.share(i.ID, s)
			}
		case scale.Lag: // above
		}
		if !ok {
			missing = append(missing, i.ID)
			continue
		}
		r.Sum += value
		r.Of++
	}
	slices.Sort(missing)
	return r, missing
}

// fresh is how old what a process said may be: it says something twice a second.
const fresh = 3 * time.Second

// says reports whether s was said of late and by the process pid, or by one of the group that it leads, such as what a shell has
// started.
func (k *kernel) says(pid int, s control.InstanceStats, now time.Time) bool {
	if s.At.IsZero() || now.Sub(s.At) > fresh {
		return false
	}
	if s.PID == 0 || s.PID == pid {
		return true
	}
	group, ok := k.group(s.PID)
	return ok && group == pid
}

// brief is an error in a line for people.
func brief(err error) string {
	text := err.Error()
	if coded := (*failure.Error)(nil); errors.As(err, &coded) {
		text = cmp.Or(coded.Message, text)
	}
	line, _, _ := strings.Cut(text, "\n")
	return line
}
