package rest

import "time"

// Headers of this package. Idempotency-Key is that of draft-ietf-httpapi-idempotency-key-header.
const (
	// HeaderTimeout carries what is left of the caller's deadline, in whole milliseconds. It is relative, so that clocks need not agree.
	HeaderTimeout = "X-Request-Timeout-Ms"
	// HeaderAttempt carries the number of the attempt, from 0; it is absent on the first.
	HeaderAttempt = "X-Attempt"
	// HeaderIdempotencyKey declares that repeating the request with the same key does no harm.
	HeaderIdempotencyKey = "Idempotency-Key"
)

// ParseTimeout reads the value of HeaderTimeout. It is false for anything but a number of up to
// ten digits, which callers of it treat as a header that is not there.
func ParseTimeout(v string) (time.Duration, bool) { return 0, false }
