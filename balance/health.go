package balance

// Health is what the end of a call says about its node's health.
type Health uint8

const (
	// Neutral says nothing: the caller went away, or the call was refused before it was sent.
	Neutral Health = iota
	// Good is an answer, an error of the application included: the node does its work.
	Good
	// Bad is a failure of the node: no connection, UNAVAILABLE, no answer in time.
	Bad
	// Suspicious is an error that may be the node's or the request's, such as INTERNAL. It counts for the success rate
	// only, where it is compared with the other nodes'.
	Suspicious
)
