package failure

// Domain is the Domain of the reasons that Holdfast itself gives.
const Domain = "holdfast"

// The reasons of [Domain]: who refused a call, and why. Each comes with RESOURCE_EXHAUSTED or, made by a breaker,
// UNAVAILABLE, and says that the call has not run.
const (
	// ReasonShed: the instance is overloaded and has not begun with the call. RetryAfter says when to come back.
	ReasonShed = "SHED"
	// ReasonQuota: the tenant has used up its share; RetryAfter is when there is some of it again.
	ReasonQuota = "QUOTA"
	// ReasonThrottled: this client's throttle held the call back, since the service refuses most of them.
	ReasonThrottled = "THROTTLED"
	// ReasonBulkhead: this client has as many calls under way to the service as it may.
	ReasonBulkhead = "BULKHEAD"
	// ReasonRateLimit: this client's own rate limit.
	ReasonRateLimit = "RATE_LIMIT"
	// ReasonBreaker: this client's breaker is open.
	ReasonBreaker = "BREAKER_OPEN"
)

// hasReason reports whether e has the given reason of Domain.
func (e *Error) hasReason(reason string) bool {
	return e != nil && e.Domain == Domain && e.Reason == reason
}

// Shed reports whether e is an instance's word that it was too busy to begin with the call.
func (e *Error) Shed() bool { return e.hasReason(ReasonShed) }

// Local reports whether e was made by this side's throttle, bulkhead, rate limit or breaker: nothing was sent.
func (e *Error) Local() bool {
	return e.hasReason(ReasonThrottled) || e.hasReason(ReasonBulkhead) || e.hasReason(ReasonRateLimit) || e.hasReason(ReasonBreaker)
}
