package resilience

// Throttle holds requests back when a service refuses most of them.
type Throttle struct{}
