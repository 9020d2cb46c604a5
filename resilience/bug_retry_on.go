//go:build bug_retry

package resilience

// bugRetry has calls made again that may have run and may not run twice: a bug that a drill must find (go run ./bench/bugs).
const bugRetry = true
