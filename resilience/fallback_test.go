package resilience_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

func ExampleFallback() {
	price := func(context.Context) (int, error) {
		return 0, failure.New(failure.Unavailable, "no instance is reachable")
	}
	last := func(context.Context, error) (int, error) { return 1999, nil } // what it was an hour ago
	fmt.Println(resilience.Fallback(context.Background(), price, last))
	// Output: 1999 <nil>
}

func TestFallbackIsForWhatWasNotAnswered(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		ctx  context.Context
		err  error
		want bool
	}{
		{t.Context(), nil, false},
		{t.Context(), failure.Unavailable, true},
		{t.Context(), failure.DeadlineExceeded, true},
		{t.Context(), resilience.StopThrottled.Failure("echo"), true},
		{t.Context(), errors.New("anything"), true},
		{t.Context(), failure.NotFound, false},
		{t.Context(), failure.InvalidArgument, false},
		{t.Context(), failure.Aborted, false},
		{canceled, failure.Unavailable, false},
	} {
		got, err := resilience.Fallback(tt.ctx,
			func(context.Context) (bool, error) { return false, tt.err },
			func(_ context.Context, err error) (bool, error) {
				if !errors.Is(err, tt.err) {
					t.Errorf("%v becomes %v", tt.err, err)
				}
				return true, nil
			})
		if got != tt.want || (err == nil) != (tt.want || tt.err == nil) {
			t.Errorf("%v: %v, %v", tt.err, got, err)
		}
	}
}
