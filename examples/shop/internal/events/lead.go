package events

import (
	"context"
	"time"
)

// leadEvery is how often a relay asks whether it is the one to work.
const leadEvery = 250 * time.Millisecond

// Lead is an outbox.Config's Lead for state that instances keep among themselves: the relay works where the group's leader
// is, since that is where commands are cheapest. leads is asked over and over; two who both think so for a moment do
// no harm but double work.
func Lead(leads func() bool) func(ctx context.Context, fn func(ctx context.Context) error) error {
	return func(ctx context.Context, fn func(ctx context.Context) error) error {
		if err := until(ctx, leads); err != nil {
			return err
		}
		lead, lost := context.WithCancel(ctx)
		defer lost()
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			_ = until(lead, func() bool { return !leads() })
			lost()
		}()
		err := fn(lead)
		lost()
		<-watched
		return err
	}
}

// until returns nil when is holds, or ctx's error.
func until(ctx context.Context, is func() bool) error {
	tick := time.NewTicker(leadEvery)
	defer tick.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
