// Package scale decides how many instances a service should have. It is pure: values in, values out; package
// platform/autoscale acts on it, and on Kubernetes an HPA made from the same policy does.
package scale

import "time"

// Metric is what is kept at a target.
type Metric string

// The metrics. All but CPU and Limiter are absolute numbers per instance.
const (
	InFlight Metric = "in-flight" // calls being handled, per instance
	Limiter  Metric = "limiter"   // share of the concurrency limit in use, 0 to 1
	CPU      Metric = "cpu"       // processors in use, per instance
	Lag      Metric = "lag"       // messages that wait, per instance
	Custom   Metric = "custom"    // what an HTTP endpoint of the service says, per instance
)

// Policy is how one service scales. Min and Max are required.
type Policy struct {
	Min, Max int
	Targets  []Target // the one that asks for most counts
	// UpAfter and DownAfter are stabilisation windows: the lowest wish of the last UpAfter counts for growing (default 3 s),
	// the highest of the last DownAfter for shrinking (default 60 s).
	UpAfter, DownAfter time.Duration
	// Tolerance around the target within which nothing is done. Default 0.1, as of Kubernetes.
	Tolerance float64
	// MaxUp is the largest factor by which one step grows. Default 2; at least one instance is always allowed.
	MaxUp float64
}

// Target is one metric and where it is kept.
type Target struct {
	Metric Metric
	Value  float64
	// Topic and Group name the subscription of Lag, Path the endpoint of Custom.
	Topic, Group, Path string
}
