// Package scale decides how many instances a service should have. It is pure: values in, values out; package
// platform/autoscale acts on it, and on Kubernetes an HPA made from the same policy does.
//
// # What it goes by
//
// Each [Target] is a metric and the value an instance is meant to have of it. What all instances have of it together,
// divided by that, is how many are needed; the target that needs most counts. This is target tracking, as of the
// Horizontal Pod Autoscaler of Kubernetes, with two differences: growing takes a window, too, and what is not known or
// not there never takes anything away.
//
//	wish     = the most of ceil(sum of a metric / its target) + those that are missing, of those that have served
//	grow     to the lowest wish of the last UpAfter, by a factor of MaxUp at most, once those that were started serve, or for
//	         half a minute have not
//	shrink   to the highest wish of the last DownAfter, to half at most, while all are there and all have said how they are
//
// Every change begins both windows anew, so that two steps are apart by a window, and a step that did not help is seen
// before the next.
//
// # What it never does
//
//   - go below Min or above Max;
//   - shrink while an instance is missing (frozen, crashed, being started), or while one says nothing, nor within DownAfter
//     of that: an instance that is not there is missing, it is not idle, and silence is not idleness;
//   - grow while none serves: more of what does not come up helps nobody;
//   - make up for what was added and has not served for half a minute, nor for more than are needed: what crashes is not
//     cured by more of it, which would go on up to Max. When the load asks for more, there are more all the same;
//   - grow when what the instances share, such as the processors of one machine, is used up ([Sample.Full]): more of them
//     would only share it among more.
//
// # What it does not know
//
// In-flight calls grow with the latency of whatever a service calls: when a dependency is slow, an in-flight target grows
// the service although that does not help, up to Max. A target on CPU does not, and one on [Limiter] does.
package scale

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"
)

// Metric is what is kept at a target.
type Metric string

// The metrics. All but CPU and Limiter are absolute numbers per instance.
const (
	InFlight Metric = "in-flight" // calls being handled or waiting to be, per instance
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

// Defaults of a Policy.
const (
	DefaultUpAfter   = 3 * time.Second
	DefaultDownAfter = time.Minute
	DefaultTolerance = 0.1
	DefaultMaxUp     = 2
)

// Resolved returns the policy with its defaults in place of what is zero.
func (p Policy) Resolved() Policy {
	p.UpAfter = cmp.Or(p.UpAfter, DefaultUpAfter)
	p.DownAfter = cmp.Or(p.DownAfter, DefaultDownAfter)
	p.Tolerance = cmp.Or(p.Tolerance, DefaultTolerance)
	p.MaxUp = cmp.Or(p.MaxUp, DefaultMaxUp)
	return p
}

// Validate returns everything that is wrong with the policy, joined, or nil.
func (p Policy) Validate() error {
	var errs []error
	problem := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("scale: "+format, args...))
		}
	}
	problem(p.Min < 1, "min %d is not at least 1", p.Min)
	problem(p.Max < p.Min, "max %d is below min %d", p.Max, p.Min)
	problem(len(p.Targets) == 0, "there is no target")
	problem(p.UpAfter < 0 || p.DownAfter < 0, "a window is negative")
	problem(p.Tolerance < 0 || p.Tolerance >= 1 || math.IsNaN(p.Tolerance), "tolerance %v is not from 0 to below 1", p.Tolerance)
	problem(p.MaxUp != 0 && !(p.MaxUp > 1) || math.IsInf(p.MaxUp, 0), "max-up %v is not a factor above 1", p.MaxUp)
	for _, t := range p.Targets {
		errs = append(errs, t.validate()...)
	}
	return errors.Join(errs...)
}

func (t Target) validate() (errs []error) {
	switch t.Metric {
	case InFlight, CPU:
	case Limiter:
		if t.Value > 1 {
			errs = append(errs, fmt.Errorf("scale: %s: the target %v is not a share of the limit", t.Metric, t.Value))
		}
	case Lag:
		if t.Topic == "" {
			errs = append(errs, fmt.Errorf("scale: %s: there is no topic", t.Metric))
		}
	case Custom:
		if t.Path == "" || t.Path[0] != '/' {
			errs = append(errs, fmt.Errorf("scale: %s: there is no path", t.Metric))
		}
	default:
		errs = append(errs, fmt.Errorf("scale: the metric %q is unknown", t.Metric))
	}
	if !(t.Value > 0) || math.IsInf(t.Value, 0) {
		errs = append(errs, fmt.Errorf("scale: %s: the target %v is not a number above 0", t.Metric, t.Value))
	}
	return errs
}
