package resilience

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadline(t *testing.T) {
	const none = time.Duration(0)
	for _, tt := range []struct {
		name     string
		given    time.Duration // left of the deadline of ctx
		incoming bool
		timeout  time.Duration // of the policy
		want     time.Duration
	}{
		{"nobody says", none, false, 0, 5 * time.Second},
		{"the policy says", none, false, time.Second, time.Second},
		{"the caller says less", time.Second, false, 0, time.Second},
		{"the caller says more than the default", time.Minute, false, 0, time.Minute},
		{"the caller says more than the policy", time.Minute, false, time.Second, time.Second},
		{"the caller says less than the policy", time.Second, false, time.Minute, time.Second},
		{"served without a deadline", none, true, 0, 5 * time.Second},
		{"inherited, far away", time.Minute, true, 0, 5 * time.Second},
		{"inherited, far away, the policy says more", time.Minute, true, 2 * time.Minute, time.Minute - 50*time.Millisecond},
		{"inherited, near: 5 % margin", 400 * time.Millisecond, true, 0, 380 * time.Millisecond},
		{"inherited, 50 ms margin at most", 4 * time.Second, true, 0, 3950 * time.Millisecond},
		{"inherited, 2 ms margin at least", 10 * time.Millisecond, true, 0, 8 * time.Millisecond},
		{"inherited, less than the margin", time.Millisecond, true, 0, -time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, now := context.Background(), time.Now()
				if tt.given != none {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.given)
					defer cancel()
				}
				if tt.incoming {
					ctx = WithIncoming(ctx)
				}
				if got := Deadline(ctx, now, &Policy{Timeout: tt.timeout}).Sub(now); got != tt.want {
					t.Errorf("deadline in %v, want %v", got, tt.want)
				}
				if got, null := Deadline(ctx, now, &Policy{}), Deadline(ctx, now, nil); !got.Equal(null) {
					t.Errorf("deadline without a policy %v, with the zero one %v", null, got)
				}
			})
		})
	}
}
