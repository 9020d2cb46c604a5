package backoff_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/internal/backoff"
)

func TestWaitsStayBelowADoublingBound(t *testing.T) {
	b := backoff.Backoff{Base: time.Millisecond, Max: 100 * time.Millisecond}
	for round := range 2 {
		bound := time.Millisecond
		for i := range 100 {
			if d := b.Next(); d < 0 || d > bound {
				t.Fatalf("round %d: wait %d = %v, want at most %v", round, i, d, bound)
			}
			bound = min(2*bound, 100*time.Millisecond)
		}
		b.Reset()
	}
}

func TestPauseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if !backoff.Pause(ctx, 100*time.Millisecond) {
			t.Error("a pause within the context's time says that the context has ended")
		}
		begun := time.Now()
		if backoff.Pause(ctx, time.Minute) || time.Since(begun) > time.Second {
			t.Errorf("a pause of a minute took %v of a second that was left", time.Since(begun))
		}
	})
}
