package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// session is one run of a scenario.
type session struct {
	cfg  Config
	sc   Scenario
	rec  *load.Recorder
	host host

	info    control.Info
	world   inject.World
	faults  []planned // in the order of their beginnings
	applier inject.Applier
	caller  *load.Caller
	load    *load.Load
	checks  []check.Checker
	eyes    *check.World
	grpc    *direct

	began    bool
	length   time.Duration // how long load was offered
	verdicts []check.Verdict
	unwell   *check.Verdict // that the system is not well again at the end; nil if it is
	lanes    lanes
	attempts attempts

	mu         sync.Mutex // guards what follows, and calls of cfg.Progress
	happened   []report.Fault
	broken     []string
	skipped    []string      // random faults that were not done after all, and why
	restarting int           // rolling restarts that are under way
	seen       time.Duration // when the platform was there the last time
	gone       bool          // it is there no more
}

// prepare looks whether the drill can be run, and draws what is to be drawn, before anything is broken.
func (s *session) prepare(ctx context.Context) error {
	if err := s.waitReady(ctx); err != nil {
		return err
	}
	if err := s.checkCalm(ctx); err != nil {
		return err
	}
	if err := s.findForeign(ctx); err != nil {
		return err
	}
	if err := s.draw(); err != nil {
		return err
	}
	s.target()
	if len(s.sc.Load.Calls) == 0 {
		s.sc.Load.Calls = defaultCalls(s.info)
		if err := s.tryDefaults(ctx); err != nil {
			return err
		}
	}
	s.sc.Load.Seed = s.cfg.Seed
	var err error
	if s.load, err = load.New(ctx, s.sc.Load, s.caller); err != nil {
		return err
	}
	if err := s.prepareChecks(ctx); err != nil {
		return err
	}
	return s.waitIdle(ctx)
}

const (
	// idleTime is how long a drill waits for a system to be idle, and idleShare the share of the machine's processors below
	// which it is.
	idleTime  = 20 * time.Second
	idleShare = 0.3
)

// errNotWell is matched by errors about a system that lacks instances.
var errNotWell = errors.New("the system is not well")

// findForeign finds out which services are not Holdfast's: none of their processes speaks to the platform. One that does has
// begun to within a moment of being ready.
func (s *session) findForeign(ctx context.Context) error {
	for range 10 {
		stats, err := s.cfg.Control.Stats(ctx)
		if err != nil {
			return err
		}
		foreign := 0
		for i := range s.world.Services {
			svc := &s.world.Services[i]
			svc.Foreign = svc.Name == control.ControlService || !slices.ContainsFunc(svc.Instances, func(id string) bool {
				_, speaks := stats.Instances[id]
				return speaks
			})
			if svc.Foreign && svc.Name != control.ControlService {
				foreign++
			}
		}
		if foreign == 0 || !sleep(ctx, 200*time.Millisecond) {
			break
		}
	}
	return ctx.Err()
}

// target makes what calls go out by.
func (s *session) target() {
	t := load.Target{Edges: make(map[string]string), GRPC: s.cfg.GRPC, HTTP: s.cfg.HTTP}
	for _, svc := range s.info.Services {
		if svc.HTTP != "" {
			t.Edges[svc.Name] = "http://" + svc.HTTP
		}
	}
	s.grpc = newDirect(s.cfg.Control)
	t.GRPC = func(service string) (grpc.ClientConnInterface, error) {
		if s.cfg.GRPC != nil {
			if conn, err := s.cfg.GRPC(service); conn != nil || err != nil {
				return conn, err
			}
		}
		return s.grpc.service(service)
	}
	s.caller = load.NewCaller(t)
}

// defaultCalls are what is called where a scenario says nothing: each public address.
func defaultCalls(info control.Info) (out []load.Call) {
	for _, svc := range info.Services {
		if svc.HTTP != "" {
			out = append(out, load.Call{Name: "get " + svc.Name, Weight: 1, Method: http.MethodGet, Path: "/", Edge: svc.Name})
		}
	}
	return out
}

// tryDefaults makes each of the calls once that nobody has written: what is not answered well now says nothing later.
func (s *session) tryDefaults(ctx context.Context) error {
	if len(s.sc.Load.Calls) == 0 {
		return failure.New(failure.FailedPrecondition, "the drill has no calls, and no service a public address that could be called by itself; write what users do, beginning with: holdfast drill init")
	}
	for _, call := range s.sc.Load.Calls {
		p, err := s.caller.Prepare(ctx, nil, call)
		if err != nil {
			return err
		}
		if sample := p.Do(ctx, load.Draw{Rand: rand.New(rand.NewPCG(s.cfg.Seed, 0))}, nil); sample.Outcome != load.OK { //nolint:gosec // nothing is drawn
			answer := sample.Status
			switch answer {
			case "":
				answer = sample.Error
			case "200":
				answer = "200, with nothing in it"
			}
			return failure.New(failure.FailedPrecondition, "the drill has no calls, and GET / of %s is answered %s; write what users do, beginning with: holdfast drill init", call.Edge, answer)
		}
	}
	return nil
}

func (s *session) prepareChecks(ctx context.Context) error {
	s.eyes = &check.World{
		Caller: s.caller, Record: s.rec, Mix: s.sc.Load, Seed: s.cfg.Seed, Dir: s.info.Dir, Env: s.environ(),
		Instances: func(ctx context.Context, service string) ([]check.Instance, error) {
			found, err := s.cfg.Control.InstancesOf(ctx, service)
			out := make([]check.Instance, 0, len(found))
			for _, i := range found {
				out = append(out, check.Instance{ID: i.ID, HTTP: i.Addrs["http"]})
			}
			return out, err
		},
	}
	for _, inv := range s.sc.Invariants {
		c, err := check.New(inv)
		if err != nil {
			return err
		}
		if err := c.Prepare(ctx, s.eyes); err != nil {
			return failure.Wrap(err, failure.CodeOf(err), "%s: %s", c.Name(), says(err))
		}
		s.checks = append(s.checks, c)
	}
	return nil
}

// drill offers load, breaks, mends, and judges.
func (s *session) drill(ctx context.Context) error {
	s.rec.Start()
	s.began = true
	s.tell(fmt.Sprintf("load: %s for %s", rates(s.sc.Load), inject.Span(s.sc.For)), false)
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	var watchers sync.WaitGroup
	watchers.Go(func() { s.lanes.follow(watching, s.cfg.Control, s.rec.Began()) })
	watchers.Go(func() { s.attempts.follow(watching, s.cfg.Control) })
	watchers.Go(func() { s.progress(watching) })
	defer watchers.Wait()
	defer stopWatching()

	offering, stopOffering := context.WithCancel(ctx)
	defer stopOffering()
	watchers.Go(func() { s.watchPlatform(watching, stopOffering) })
	watchers.Go(func() { s.host.follow(offering, s.rec.Now) })
	var under sync.WaitGroup
	for _, c := range s.checks {
		under.Go(func() { c.Run(offering, s.eyes) })
	}
	for _, f := range s.faults {
		under.Go(func() { s.suffer(ctx, offering, f) })
	}
	s.load.Run(offering, s.rec)
	s.goOn(offering)
	s.length = s.rec.Now()
	stopOffering()
	under.Wait() // everything is mended
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.lookForPlatform(ctx); s.isGone() {
		return failure.New(failure.Unavailable, "the platform itself ended, about %s after the load began: what failed since then says nothing about the system",
			inject.Span(s.seen.Round(100*time.Millisecond)))
	}
	s.sc.LeftOut = append(slices.Clone(s.sc.LeftOut), s.skipped...)
	if len(s.happened) == 0 && len(s.skipped) > 0 {
		return failure.New(failure.FailedPrecondition, "nothing was broken: %s", s.skipped[len(s.skipped)-1])
	}
	if err := s.recovered(ctx); err != nil {
		return err
	}
	s.judgeChecks(ctx)
	return ctx.Err()
}

// goOn offers more load, at the last rate, while rolling restarts are under way that take longer than was thought, and for a
// moment after: one that the load does not see the end of is not drilled.
func (s *session) goOn(ctx context.Context) {
	mix := s.sc.Load
	rate := mix.Steps[len(mix.Steps)-1].To
	var under sync.WaitGroup
	defer under.Wait()
	rest := 0
	for i := range int(goOnTime / time.Second) {
		switch {
		case s.rolling() > 0:
			rest = int(atTheEnd/time.Second) + 1
		case rest > 0:
			rest--
		}
		if rest == 0 || ctx.Err() != nil {
			return
		}
		if i == 0 {
			s.tell("the load goes on until the restart is done", false)
		}
		mix.Steps = []load.Step{{For: time.Second, From: rate, To: rate}}
		mix.Seed = s.cfg.Seed + uint64(i) + 1
		mix.First = int64(i+1) * goOnNumbers // or keys made of numbers would come again, with other bodies
		more, err := load.New(ctx, mix, s.caller)
		if err != nil {
			s.tell("the load cannot go on: "+says(err), true)
			return
		}
		under.Go(func() { more.Run(ctx, s.rec) }) // it waits for its last answer, and the next one does not wait for it
		if !sleep(ctx, time.Second) {
			return
		}
	}
}

// goOnTime is how long load is offered at most after it should be over.
const goOnTime = 2 * time.Minute

// goOnNumbers is more than load has calls before it goes on, or in a second of that.
const goOnNumbers = 10_000_000

func (s *session) rolling() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restarting
}

func rates(mix load.Mix) string {
	if len(mix.Steps) == 1 && mix.Steps[0].From == mix.Steps[0].To {
		return fmt.Sprintf("%g calls a second", mix.Steps[0].From)
	}
	return fmt.Sprintf("up to %g calls a second", mix.Peak())
}

func (s *session) judgeChecks(ctx context.Context) {
	for i, c := range s.checks {
		s.tell("checking: "+c.Name(), false)
		judging, cancel := context.WithTimeout(ctx, judgeTime+patience(s.sc.Invariants[i]))
		v := c.Judge(judging, s.eyes)
		cancel()
		s.verdicts = append(s.verdicts, v)
		s.tell(fmt.Sprintf("%s: %s", v.Name, v.Says), v.Answer != check.Holds)
	}
	if s.unwell != nil {
		s.verdicts = append(s.verdicts, *s.unwell)
	}
}

// patience is how long an invariant says itself that it may take, or asks again.
func patience(i check.Invariant) (d time.Duration) {
	if i.Acknowledged != nil {
		d = max(d, i.Acknowledged.Within)
	}
	if i.Once != nil {
		d = max(d, i.Once.Within)
	}
	if i.HTTP != nil {
		d = max(d, i.HTTP.Within)
	}
	if i.Command != nil {
		d = max(d, i.Command.Timeout)
	}
	return d
}

// progress tells once a second how far it is.
func (s *session) progress(ctx context.Context) {
	if s.cfg.Progress == nil {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.tell("", false)
		}
	}
}

// tell says what has happened.
func (s *session) tell(message string, bad bool) {
	if s.cfg.Progress == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := Progress{For: s.sc.For, Broken: slices.Clone(s.broken), Message: message, Bad: bad}
	if s.began {
		t := s.rec.Tally()
		p.At, p.Calls, p.Failed, p.Refused = s.rec.Now(), t.OK+t.Failed+t.Refused, t.Failed, t.Refused
	}
	s.cfg.Progress(p)
}

func (s *session) close() {
	if s.caller != nil {
		s.caller.Close()
	}
	if s.grpc != nil {
		s.grpc.close()
	}
}

// sleep waits, and reports whether it did so before ctx was done.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
