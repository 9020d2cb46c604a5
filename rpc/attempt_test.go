package rpc

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

// A server's transport ends an attempt at the deadline that it was told by a cancellation. After a pause of this process ours may
// have been extended by then: that is no end of the call, which nobody has canceled.
func TestEndedByTheServerAtTheDeadline(t *testing.T) {
	reset := status.Error(codes.Canceled, "stream terminated by RST_STREAM with error code: CANCEL")
	for name, tt := range map[string]struct {
		at       time.Duration // before the attempt's deadline
		canceled bool
		lost     bool
		stream   bool
		want     resilience.Outcome
	}{
		"at its deadline":                 {want: resilience.AttemptTimeout},
		"before its deadline":             {at: time.Millisecond, want: resilience.Canceled},
		"after the caller canceled":       {canceled: true, want: resilience.Canceled},
		"after the other was answered":    {lost: true, want: resilience.Canceled},
		"a stream, which has no such end": {stream: true, want: resilience.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.canceled {
				cancel()
			}
			a := begun(ctx, time.Second)
			a.call.stream, a.lost, a.plan.Bounded, a.sent = tt.stream, tt.lost, true, resilience.MaybeSent
			now := a.plan.Deadline.Add(-tt.at)
			err := a.failure(ctx, now, reset)
			if got, _ := a.outcome(now, err); got != tt.want {
				t.Errorf("%v: %v, want %v", err, got, tt.want)
			}
			if want := tt.want == resilience.AttemptTimeout; (failure.CodeOf(err) == failure.DeadlineExceeded) != want {
				t.Errorf("it says %v", err)
			}
		})
	}
}
