package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/trial"
)

// script is what happens, by the seed of the run.
type script struct {
	*world
	rand *rand.Rand
	next int // server of the engine that is killed next
	most int // effects after which all of them are killed

	killed, frozen, brokerKilled, brokerFrozen, all int
}

func newScript(w *world, messages int) *script {
	return &script{world: w, most: messages * 4 / 5, rand: rand.New(rand.NewPCG(w.r.Seed, 0))} //nolint:gosec // to be repeatable
}

// run makes trouble for as long as messages are published.
func (s *script) run(ctx context.Context) error {
	if !pause(ctx, time.Second) { // until all is under way
		return nil
	}
	for n := 1; ; n++ {
		more, err := s.publishing()
		if err != nil {
			return err
		}
		if err := s.check(); err != nil {
			return err
		}
		if !more {
			return nil
		}
		done, err := s.store.count(ctx)
		if err != nil {
			return err
		}
		switch {
		case done > s.most && s.all == 0 && len(s.broker.Servers) > 1:
			err = s.killAll(ctx)
		case n%3 == 0:
			err = s.killServer(ctx)
		case n%7 == 0:
			s.freezeServer(ctx)
		case n%4 == 0:
			s.freeze(ctx)
		default:
			err = s.kill(ctx)
		}
		if err != nil {
			return err
		}
		if !pause(ctx, s.between(500*time.Millisecond, 8*time.Second)) {
			return context.Cause(ctx)
		}
	}
}

func (s *script) between(from, to time.Duration) time.Duration {
	if s.r.Short {
		from, to = from/4, to/4
	}
	return from + time.Duration(s.rand.Int64N(int64(to-from)))
}

// kill ends a consumer, and starts it again a little later.
func (s *script) kill(ctx context.Context) error {
	i := s.rand.IntN(len(s.consumers))
	p := s.consumers[i]
	s.killed++
	p.Kill()
	long := s.between(0, 3*time.Second)
	s.say("consumer %d killed for %v", i+1, long.Round(time.Millisecond))
	pause(ctx, long)
	return p.Start(ctx) //nolint:wrapcheck // says it all
}

// freeze stops a consumer, often for longer than others wait for it.
func (s *script) freeze(ctx context.Context) {
	i := s.rand.IntN(len(s.consumers))
	p := s.consumers[i]
	s.frozen++
	long := s.between(hold/2, 3*hold)
	s.say("consumer %d frozen for %v", i+1, long.Round(time.Millisecond))
	p.Freeze()
	pause(ctx, long)
	p.Thaw()
}

// killServer ends one of the engine's processes, each in turn, and starts it again.
func (s *script) killServer(ctx context.Context) error {
	i := s.next % len(s.broker.Servers)
	s.next++
	s.brokerKilled++
	p := s.broker.Servers[i]
	p.Kill()
	long := s.between(0, 4*time.Second)
	s.say("server %d of %s killed for %v", i+1, s.broker.Kind, long.Round(time.Millisecond))
	pause(ctx, long)
	if err := p.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	s.say("server %d is back", i+1)
	return nil
}

// freezeServer stops one of the engine's processes.
func (s *script) freezeServer(ctx context.Context) {
	i := s.rand.IntN(len(s.broker.Servers))
	s.brokerFrozen++
	p := s.broker.Servers[i]
	long := s.between(time.Second, 12*time.Second)
	s.say("server %d of %s frozen for %v", i+1, s.broker.Kind, long.Round(time.Millisecond))
	p.Freeze()
	pause(ctx, long)
	p.Thaw()
}

// killAll ends all of the engine's processes at once, and starts them again.
func (s *script) killAll(ctx context.Context) error {
	s.all++
	s.say("all servers of %s killed", s.broker.Kind)
	for _, p := range s.broker.Servers {
		p.Kill()
	}
	pause(ctx, s.between(0, 4*time.Second))
	failed := make(chan error, len(s.broker.Servers))
	for _, p := range s.broker.Servers {
		go func() { failed <- p.Start(context.WithoutCancel(ctx)) }()
	}
	var err error
	for range s.broker.Servers {
		if e := <-failed; e != nil {
			err = fmt.Errorf("restart: %w", e)
		}
	}
	s.say("all are back")
	return err
}

func (s *script) report() {
	show := trial.Promise{}
	s.r.Add("consumers killed", float64(s.killed), trial.Count, show)
	s.r.Add("consumers stopped", float64(s.frozen), trial.Count, show)
	s.r.Add("the engine's processes killed", float64(s.brokerKilled), trial.Count, show)
	s.r.Add("the engine's processes stopped", float64(s.brokerFrozen), trial.Count, show)
	s.r.Add("the engine killed as a whole", float64(s.all), trial.Count, show)
}
