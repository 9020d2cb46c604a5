package admission

import (
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// everywhere is how long callers are asked to wait when so much is turned away that others will hardly do better. It is
// longer than any backoff within a call, and so the end of it.
const everywhere = time.Second

// jitter is the longest that a caller is asked to wait before it tries another instance.
const jitter = 50 * time.Millisecond

var (
	errShedAll = failure.New(failure.ResourceExhausted, "overloaded").
			WithReason(failure.ReasonShed, failure.Domain).WithRetryAfter(everywhere)
	errShed = failure.New(failure.ResourceExhausted, "this instance is overloaded").
		WithReason(failure.ReasonShed, failure.Domain)
	errQuota = failure.New(failure.ResourceExhausted, "the quota is used up").
			WithReason(failure.ReasonQuota, failure.Domain)
	errLate = failure.New(failure.DeadlineExceeded, "the deadline would have passed before the end of the call")
)

// refusal returns the error for v; wait is that of a quota, and rnd a random number.
func refusal(v verdict, wait time.Duration, rnd uint64) *failure.Error {
	switch v {
	case shedAll:
		return errShedAll
	case overdue:
		return errLate
	case overQuota:
		return errQuota.WithRetryAfter(wait)
	default:
		// 0 is for at once, but not a RetryAfter.
		return errShed.WithRetryAfter(time.Duration(rnd % uint64(jitter)))
	}
}

// Pushback is what a caller whose call was refused with err should be told about repeating it: after how long, or a
// negative duration for not at all. ok: err is a refusal of a Controller's that says so.
//
// gRPC carries it in the trailer grpc-retry-pushback-ms, and HTTP in Retry-After.
func Pushback(err *failure.Error) (after time.Duration, ok bool) {
	switch {
	case err == nil || err.Domain != failure.Domain:
		return 0, false
	case err.Reason == failure.ReasonQuota:
		return err.RetryAfter, true
	case err.Reason != failure.ReasonShed:
		return 0, false
	case err.RetryAfter >= everywhere:
		return -1, true
	default:
		return err.RetryAfter, true
	}
}
