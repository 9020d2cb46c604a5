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

// DomainIdempotency is the Domain of the reasons that are about idempotency keys. It is not [Domain]: those are one instance's
// word to its own caller, and go no further; these are for whoever chose the key.
const DomainIdempotency = "holdfast.idempotency"

// ReasonKeyInUse, of [DomainIdempotency]: the first request with this key is not through, and whoever was asked could not wait
// for it any longer. Nothing was run.
const ReasonKeyInUse = "IDEMPOTENCY_KEY_IN_USE"

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

// UnderWay reports whether e says that the first request with the same idempotency key is not through.
func (e *Error) UnderWay() bool {
	return e != nil && e.Domain == DomainIdempotency && e.Reason == ReasonKeyInUse
}
