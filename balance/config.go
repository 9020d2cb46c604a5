package balance

import (
	"errors"
	"fmt"
	"time"
)

// The policies.
const (
	// P2C takes the one with the lower expected latency of two random nodes. The default.
	P2C = "p2c"
	// HCL probes a few nodes for each call and takes the fastest one that is not busy (Prequal). It is best where many
	// clients share the same instances; it costs probes.
	HCL = "hcl"
	// RoundRobin takes turns.
	RoundRobin = "round_robin"
	// LeastRequest takes the one with fewer calls in flight of two random nodes.
	LeastRequest = "least_request"
	// RingHash sends calls with the same key to the same node while that has room.
	RingHash = "ring_hash"
)

// Defaults of Config.
const (
	DefaultSlowStart   = 10 * time.Second
	DefaultPanic       = 0.5
	DefaultConsecutive = 5
	DefaultSuccessRate = 0.8
	DefaultWindow      = 10 * time.Second
	DefaultMinSamples  = 20
	DefaultMaxEjected  = 0.33
	DefaultProbe       = time.Second
	DefaultMaxProbe    = 4 * time.Second
	DefaultProbeRate   = 3.0
)

// Config is how the instances of one target are chosen. The zero value means the defaults, which are fit for any
// number of instances.
type Config struct {
	// Policy chooses among the nodes that can be chosen: one of the constants above; "" means p2c.
	Policy string
	// Picker makes a picker of one's own in place of Policy. It sees the nodes that are left after ejection, zone
	// and subset. nil: Policy.
	Picker func() Picker

	// Zone is the caller's own. Calls stay in it while it has at least 70 % of the capacity it needs; what it lacks
	// beyond that goes to the other zones. "": zones do not matter.
	Zone string
	// Subset bounds the nodes that this client uses, chosen by a rendezvous hash with a seed of its own, so that each of
	// many clients has connections to a few of many instances. Below about 20 instances are loaded unevenly. 0: all. Changed
	// live, it holds at once for the nodes that can be reached; connections are made and closed with the next change of the
	// set.
	Subset int
	// Seed makes the subset of one client another than that of the next. 0: a random one. It is not changed by
	// Configure.
	Seed uint64

	// Ejection rules when a node gets no calls for a while.
	Ejection Ejection
	// SlowStart is the time in which the share of a node that is new, or back, grows from a tenth to the whole.
	// 0 means 10 s, negative none: cold caches then meet full load.
	SlowStart time.Duration
	// Panic is the share of nodes that can be reached below which ejection is ignored: too few would be left to carry
	// the load, and it is not they who are sick. 0 means 0.5, negative never.
	Panic float64
	// ProbeRate is the number of probes for each call that the policy hcl asks for. 0 means 3.
	ProbeRate float64

	// OnEject is told of each ejection and re-admission, in the goroutine whose call brought it about, which holds no
	// lock. nil: nobody is told. It is not changed by Configure.
	OnEject func(Event)
}

// Ejection rules when a node is ejected, and when it is back. Only failures of the node itself count: broken and
// refused connections, UNAVAILABLE, attempts without an answer in time; never answers of the application. Zero values
// mean the defaults. Sources: Envoy's outlier detection, gRFC A50, and Finagle's failure accrual, whose probing it has.
type Ejection struct {
	// Off turns ejection off.
	Off bool
	// Consecutive is the number of failures in a row. 0 means 5, negative none. While other nodes fail too, it takes as
	// many as cannot be by chance.
	Consecutive int
	// SuccessRate is the share of successes within Window below which a node is ejected, if it had MinSamples calls and
	// is worse than the others. 0 means 0.8, negative never. Window is 10 s, and cannot be changed.
	SuccessRate float64
	// MinSamples is the number of calls within the window below which a rate says nothing. 0 means 20.
	MinSamples int
	// MaxShare is the share of nodes that may be ejected at a time, but one may always be where there are two.
	// 0 means 0.33.
	MaxShare float64
	// Probe is the time to the first call that tries whether the node is back, MaxProbe the longest between two.
	// 0 means 1 s and 4 s.
	Probe, MaxProbe time.Duration
}

// Event is an ejection or a re-admission.
type Event struct {
	// ID is the node's.
	ID string
	// At is when it happened.
	At time.Time
	// Ejected is false for a re-admission.
	Ejected bool
	// Reason says why, in words for a log.
	Reason string
	// Times counts how often it was ejected lately, this time included.
	Times int
	// Out is how long it was out, for a re-admission.
	Out time.Duration
}

// Validate reports everything that is wrong, joined; nil if nothing is.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("balance config "+format, args...)) }
	switch c.Policy {
	case "", P2C, HCL, RoundRobin, LeastRequest, RingHash:
	default:
		bad("Policy: %q is none of %s, %s, %s, %s, %s", c.Policy, P2C, HCL, RoundRobin, LeastRequest, RingHash)
	}
	if c.Subset < 0 {
		bad("Subset: %d is negative", c.Subset)
	}
	if !(c.Panic <= 1) {
		bad("Panic: %v is more than 1", c.Panic)
	}
	if !(c.ProbeRate >= 0 && c.ProbeRate <= MaxProbes) {
		bad("ProbeRate: %v is not between 0 and %d", c.ProbeRate, MaxProbes)
	}
	e := c.Ejection
	if !(e.SuccessRate <= 1) {
		bad("Ejection.SuccessRate: %v is more than 1", e.SuccessRate)
	}
	if e.MinSamples < 0 {
		bad("Ejection.MinSamples: %d is negative", e.MinSamples)
	}
	if !(e.MaxShare >= 0 && e.MaxShare < 1) {
		bad("Ejection.MaxShare: %v is not between 0 and 1", e.MaxShare)
	}
	if e.Probe < 0 || e.MaxProbe < 0 {
		bad("Ejection.Probe, MaxProbe: %v, %v: negative", e.Probe, e.MaxProbe)
	}
	if e = e.defaults(); e.Probe > e.MaxProbe {
		bad("Ejection.Probe: %v is longer than MaxProbe, %v", e.Probe, e.MaxProbe)
	}
	return errors.Join(errs...)
}

func (c Config) defaults() Config {
	if c.Policy == "" {
		c.Policy = P2C
	}
	if c.SlowStart == 0 {
		c.SlowStart = DefaultSlowStart
	}
	if c.Panic == 0 {
		c.Panic = DefaultPanic
	}
	if c.ProbeRate == 0 {
		c.ProbeRate = DefaultProbeRate
	}
	c.Ejection = c.Ejection.defaults()
	return c
}

func (e Ejection) defaults() Ejection {
	if e.Consecutive == 0 {
		e.Consecutive = DefaultConsecutive
	}
	if e.SuccessRate == 0 {
		e.SuccessRate = DefaultSuccessRate
	}
	if e.MinSamples == 0 {
		e.MinSamples = DefaultMinSamples
	}
	if e.MaxShare == 0 {
		e.MaxShare = DefaultMaxEjected
	}
	if e.Probe == 0 {
		e.Probe = DefaultProbe
	}
	if e.MaxProbe == 0 {
		e.MaxProbe = max(DefaultMaxProbe, e.Probe)
	}
	return e
}
