package rest

import (
	"strconv"
	"time"
)

// Headers of this package. Idempotency-Key is that of draft-ietf-httpapi-idempotency-key-header.
const (
	// HeaderTimeout carries what is left of the caller's deadline, in whole milliseconds. It is relative, so that
	// clocks need not agree.
	HeaderTimeout = "X-Request-Timeout-Ms"
	// HeaderAttempt carries the number of the attempt, from 0; it is absent on the first.
	HeaderAttempt = "X-Attempt"
	// HeaderIdempotencyKey declares that repeating the request with the same key does no harm.
	HeaderIdempotencyKey = "Idempotency-Key"
)

// maxTimeoutDigits keeps the product with a millisecond within a Duration.
const maxTimeoutDigits = 10

// ParseTimeout reads the value of HeaderTimeout. It is false for anything but a number of at most ten digits, which
// callers of it treat as a header that is not there.
func ParseTimeout(v string) (time.Duration, bool) {
	if v == "" || len(v) > maxTimeoutDigits {
		return 0, false
	}
	var ms int64
	for i := range len(v) {
		d := v[i] - '0'
		if d > 9 {
			return 0, false
		}
		ms = ms*10 + int64(d)
	}
	return time.Duration(ms) * time.Millisecond, true
}

// formatTimeout is the value of HeaderTimeout for d, rounded down so that the callee gives up first, but never to
// 0, which would say that there is no time at all.
func formatTimeout(d time.Duration) string {
	return strconv.FormatInt(max(1, d.Milliseconds()), 10)
}
