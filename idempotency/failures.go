package idempotency

import (
	"errors"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Domain is the Domain of the reasons of this package.
const Domain = failure.DomainIdempotency

// What a repetition is refused with. Nothing was run.
var (
	// ErrReused: the key was used for another request. HTTP has 422 for it.
	ErrReused = failure.New(failure.InvalidArgument, "the idempotency key was used for another request").
			WithReason("IDEMPOTENCY_KEY_REUSED", Domain)
	// ErrUnderWay: the first request is not through, and there is no time to wait for it.
	ErrUnderWay = failure.New(failure.Aborted, "a request with this idempotency key is under way").
			WithReason(failure.ReasonKeyInUse, Domain).WithRetryAfter(time.Second)
	// ErrNotKept: the request was answered, but its answer was too large to be kept.
	ErrNotKept = failure.New(failure.FailedPrecondition, "the request was answered before; the answer is not kept").
			WithReason("IDEMPOTENCY_RESULT_NOT_KEPT", Domain)
)

// ErrLost is what [Claim.Finish] returns when the lease had ended and somebody else has begun since: both have run.
var ErrLost = errors.New("idempotency: the lease was lost while the request ran")

// Final reports whether an answer with code is kept for repetitions: a success, or a failure that is about the
// request or the state it met. Not kept is what asks to be repeated (UNAVAILABLE, ABORTED, RESOURCE_EXHAUSTED), what
// ended early (CANCELLED, DEADLINE_EXCEEDED), what is a fault of the service and may be repaired (INTERNAL,
// UNKNOWN, DATA_LOSS, UNIMPLEMENTED), and what is about the caller's standing (UNAUTHENTICATED, PERMISSION_DENIED).
func Final(code failure.Code) bool {
	switch code {
	case failure.OK, failure.InvalidArgument, failure.NotFound, failure.AlreadyExists,
		failure.FailedPrecondition, failure.OutOfRange:
		return true
	default:
		return false
	}
}
