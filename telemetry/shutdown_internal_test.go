package telemetry

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A receiver that hangs takes no time from the others: they are all told at once.
func TestReceiversAreEndedSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		well := make(chan struct{})
		hangs := func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		tel := &Telemetry{shutdown: []func(context.Context) error{hangs, func(ctx context.Context) error {
			if ctx.Err() == nil {
				close(well)
			}
			return nil
		}, hangs}}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := tel.Shutdown(ctx); err == nil {
			t.Error("two hang, and there is no error")
		}
		select {
		case <-well:
		default:
			t.Error("the one that is well was told when there was no time left")
		}
	})
}
