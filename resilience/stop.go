package resilience

import (
	"fmt"

	"github.com/holdfast-go/holdfast/failure"
)

// Stop is why there is no further attempt.
type Stop uint8

// The reasons.
const (
	StopDone        Stop = iota // the attempt succeeded; of Next, there is no reason to stop
	StopFinal                   // another attempt would fail alike
	StopUnsafe                  // it may have run, and must not run twice
	StopAttempts                // all attempts are used up
	StopDeadline                // too little time is left
	StopBudget                  // the retry budget is empty
	StopPushback                // the instance asks to come back later than a retry can wait
	StopCanceled                // the caller gave up
	StopShed                    // another instance was too busy as well, or there is none
	StopThrottled               // held back by the throttle
	StopBulkhead                // as many calls as allowed are under way
	StopRateLimited             // as many attempts a second as allowed were made
	StopBreaker                 // the breaker is open
)

var stops = [...]string{
	StopDone:        "done",
	StopFinal:       "another attempt would fail alike",
	StopUnsafe:      "not declared safe to repeat",
	StopAttempts:    "attempts used up",
	StopDeadline:    "too little time left",
	StopBudget:      "retry budget empty",
	StopPushback:    "asked to come back later",
	StopCanceled:    "canceled",
	StopShed:        "the service is overloaded",
	StopThrottled:   "held back by the throttle",
	StopBulkhead:    "too many calls under way",
	StopRateLimited: "rate limit reached",
	StopBreaker:     "breaker open",
}

// String returns the reason in words, as it stands in errors.
func (s Stop) String() string {
	if int(s) < len(stops) {
		return stops[s]
	}
	return fmt.Sprintf("stop %d", s)
}

// Refused reports whether the guard, or the budget, is what stopped a call, and returns its name.
func (s Stop) Refused() (by string, ok bool) {
	switch s { //nolint:exhaustive // the others are of the call
	case StopBudget:
		return "budget", true
	case StopThrottled:
		return "throttle", true
	case StopBulkhead:
		return "bulkhead", true
	case StopRateLimited:
		return "rate limit", true
	case StopBreaker:
		return "breaker", true
	}
	return "", false
}

// Failure is the error of a call to service that was stopped before its first attempt. Of one that had attempts, the
// last one's error is.
func (s Stop) Failure(service string) *failure.Error {
	switch s { //nolint:exhaustive // the others are not before the first attempt
	case StopThrottled:
		return failure.New(failure.ResourceExhausted, "%s refuses most calls; this one was not sent", service).
			WithReason(failure.ReasonThrottled, failure.Domain)
	case StopBulkhead:
		return failure.New(failure.ResourceExhausted, "as many calls to %s as allowed are under way", service).
			WithReason(failure.ReasonBulkhead, failure.Domain)
	case StopRateLimited:
		return failure.New(failure.ResourceExhausted, "as many calls to %s a second as allowed were made", service).
			WithReason(failure.ReasonRateLimit, failure.Domain)
	case StopBreaker:
		return failure.New(failure.Unavailable, "%s fails too often to be called now", service).
			WithReason(failure.ReasonBreaker, failure.Domain)
	}
	return failure.New(failure.DeadlineExceeded, "no time left for the call to %s", service)
}
