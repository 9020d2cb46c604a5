package drill

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// waitIdle waits until a system that has just been started, or drilled, is busy with itself no more: what a calm system is like
// is what all else is compared with. It does not wait for ever.
func (s *session) waitIdle(ctx context.Context) error {
	var before time.Duration
	for i := range 1 + int(idleTime/time.Second) {
		stats, err := s.cfg.Control.Stats(ctx)
		if err != nil {
			return err
		}
		cpu := stats.Edge.CPU
		for _, i := range stats.Instances {
			cpu += i.CPU
		}
		busy := cpu - before
		if i > 0 && busy.Seconds() < idleShare*float64(runtime.NumCPU()) {
			break
		}
		if i == 2 {
			s.tell(fmt.Sprintf("waiting until %s is idle: it uses %.1f processors", s.info.System, busy.Seconds()), false)
		}
		before = cpu
		if !sleep(ctx, time.Second) {
			break
		}
	}
	return ctx.Err()
}

// waitReady waits until every service has the instances that it should have.
func (s *session) waitReady(ctx context.Context) error {
	return s.waitWell(ctx, func(info control.Info, instances []control.Instance) {
		s.info, s.world = info, inject.WorldOf(info, instances)
		s.lanes.begin(instances)
	})
}

// waitWell waits until the system is well and hands it to done.
func (s *session) waitWell(ctx context.Context, done func(control.Info, []control.Instance)) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	lacking := ""
	for told := false; ; {
		info, instances, missing, err := s.look(ctx)
		switch {
		case err != nil && lacking != "" && ctx.Err() == context.DeadlineExceeded:
			return notWell(lacking)
		case err != nil:
			return err
		case missing == "":
			done(info, instances)
			return nil
		case !told:
			s.tell("waiting for "+missing, false)
			told = true
		}
		lacking = missing
		select {
		case <-tick.C:
		case <-ctx.Done():
			return notWell(lacking)
		}
	}
}

func notWell(missing string) error {
	return failure.Wrap(errNotWell, failure.FailedPrecondition, "%v: %s", errNotWell, missing)
}

// look says what is missing, "" if nothing is.
func (s *session) look(ctx context.Context) (control.Info, []control.Instance, string, error) {
	info, err := s.cfg.Control.System(ctx)
	if err != nil {
		return info, nil, "", err
	}
	instances, err := s.cfg.Control.Instances(ctx)
	if err != nil {
		return info, nil, "", err
	}
	if info.State != control.Ready {
		return info, instances, fmt.Sprintf("%s, which is %s", info.System, info.State), nil
	}
	var missing []string
	for _, i := range instances {
		if i.State != "ready" && i.State != "draining" && i.State != "stopped" {
			missing = append(missing, fmt.Sprintf("%s, which is %s", i.ID, i.State))
		}
	}
	for _, svc := range info.Services {
		if svc.Ready < svc.Replicas && len(missing) == 0 {
			missing = append(missing, fmt.Sprintf("%s, of which %d of %d are ready", svc.Name, svc.Ready, svc.Replicas))
		}
	}
	return info, instances, strings.Join(missing, "; "), nil
}

// checkCalm refuses a system that somebody else is breaking.
func (s *session) checkCalm(ctx context.Context) error {
	faults, err := s.cfg.Control.Faults(ctx)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return failure.New(failure.FailedPrecondition, "something is broken already: %s; is another drill running?", faults[0].What)
	}
	return nil
}

// watchPlatform looks once a second whether the platform that was drilled is still there, and calls ended when it is not.
func (s *session) watchPlatform(ctx context.Context, ended func()) {
	for sleep(ctx, time.Second) {
		if s.lookForPlatform(ctx); s.isGone() {
			ended()
			return
		}
	}
}

// lookForPlatform looks once. A platform that does not answer in time is still there.
func (s *session) lookForPlatform(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	asked := s.rec.Now()
	info, err := s.cfg.Control.System(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone:
	case errors.Is(err, control.ErrNotRunning), err == nil && info.PID != s.info.PID:
		s.gone = true
	case err == nil:
		s.seen = max(s.seen, asked)
	}
}

func (s *session) isGone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// recovered waits until the system is well again. One that is not, with nothing broken any more, has not stood the drill,
// however few calls failed until now.
func (s *session) recovered(ctx context.Context) error {
	err := s.waitWell(ctx, func(control.Info, []control.Instance) {})
	switch {
	case err == nil || ctx.Err() != nil:
		return ctx.Err()
	case !errors.Is(err, errNotWell):
		return err
	}
	s.tell("after the drill "+says(err), true)
	s.unwell = &check.Verdict{
		Name: "the system is well again", Answer: check.Broken,
		Says: fmt.Sprintf("%s after everything was mended %s", inject.Span(readyTime), says(err)),
	}
	return nil
}
