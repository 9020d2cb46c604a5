package resilience

// Breaker is a classic circuit breaker.
type Breaker struct{}
