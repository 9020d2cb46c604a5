package rest

import (
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast-go/holdfast/resilience"
)

// Headers of this package. Idempotency-Key is that of draft-ietf-httpapi-idempotency-key-header.
const (
	// HeaderTimeout carries what is left of the caller's deadline, in whole milliseconds. It is relative, so that
	// clocks need not agree.
	HeaderTimeout = "X-Request-Timeout-Ms"
	// HeaderAttempt carries the number of the attempt, from 0; it is absent on the first.
	HeaderAttempt = "X-Attempt"
	// HeaderCriticality and HeaderTenant carry what the calls made for a request inherit; see resilience.Request.
	HeaderCriticality = "X-Criticality"
	HeaderTenant      = "X-Tenant"
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

// putRequest makes h say what r says, and nothing else. What has its default is not there.
func putRequest(h http.Header, r resilience.Request) {
	delete(h, HeaderCriticality)
	delete(h, HeaderTenant)
	delete(h, HeaderAttempt)
	if r.Criticality != resilience.Critical {
		h[HeaderCriticality] = []string{r.Criticality.String()}
	}
	if r.Tenant != "" {
		h[HeaderTenant] = []string{r.Tenant}
	}
	if r.Attempt > 0 {
		h[HeaderAttempt] = []string{strconv.Itoa(min(r.Attempt, resilience.MaxRepetitions))}
	}
}

// readRequest is the inverse: what the headers of a request say. What is there twice, or cannot be read, counts as absent.
func readRequest(h http.Header) resilience.Request {
	return resilience.ParseRequest(only(h, HeaderCriticality), only(h, HeaderTenant), only(h, HeaderAttempt))
}

// only returns the value of a header, given as it stands in the map, that is there once.
func only(h http.Header, name string) string {
	if v := h[name]; len(v) == 1 {
		return v[0]
	}
	return ""
}
