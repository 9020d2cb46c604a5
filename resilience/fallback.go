package resilience

import (
	"context"
	"errors"

	"github.com/holdfast-go/holdfast/failure"
)

// Fallback calls, and if the call in the end was not answered, returns what instead says: something kept from before,
// something plainer, or the error. It stands around everything else, so instead sees the result of all attempts and never
// that of one, and its own result is not counted anywhere.
//
// Not answered means UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL, UNKNOWN or DATA_LOSS. What the
// service did answer, NOT_FOUND say, is the result, and nobody waits for one any more if ctx was cancelled. instead gets
// a ctx that may have no time left.
func Fallback[T any](ctx context.Context, call func(context.Context) (T, error), instead func(context.Context, error) (T, error)) (T, error) {
	v, err := call(ctx)
	if err == nil || errors.Is(ctx.Err(), context.Canceled) {
		return v, err
	}
	switch failure.CodeOf(err) { //nolint:exhaustive // the others are answers
	case failure.Unavailable, failure.DeadlineExceeded, failure.ResourceExhausted, failure.Internal, failure.Unknown, failure.DataLoss:
		return instead(ctx, err)
	}
	return v, err
}
