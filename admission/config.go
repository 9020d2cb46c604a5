package admission

import (
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/resilience"
)

// The defaults of a Config.
const (
	DefaultMinLimit   = 4
	DefaultMaxLimit   = 10_000
	DefaultQueue      = 1_000
	DefaultMaxTenants = 10_000
)

// Config says when calls are turned away. The zero value is on, and does not touch a service that keeps up.
type Config struct {
	// Off admits everything: no limit, no queue, no quota, no look at deadlines.
	Off bool
	// MinLimit is the number of calls in progress that the limit never goes below. 0: 4. Too large, a service
	// whose capacity is smaller queues inside its handlers, where nothing is ordered by criticality; too small, a few slow
	// calls can hold up all others.
	MinLimit int
	// MaxLimit is the number of calls in progress that are never exceeded, whatever is measured. 0: 10,000.
	MaxLimit int
	// Queue bounds the calls that wait for their turn. 0: 1,000. Negative: none waits, what is over the limit is
	// turned away at once. It bounds memory; how long calls wait is bounded by time, not by it.
	Queue int
	// Quotas are the shares of single tenants, Quota that of each tenant which is not in them; the zero Quota is no
	// bound. Calls without a tenant have none either.
	Quotas map[string]Quota
	Quota  Quota
	// MaxTenants bounds the tenants that are kept apart under Quota; the one unused longest is forgotten, and has its
	// burst again when it comes back. 0: 10,000.
	MaxTenants int
}

// Quota is a tenant's share of each server of each instance of a service: a token bucket. An instance that serves gRPC and
// HTTP has two servers, each with a Controller of its own, since a handler of the one may call the other and must not wait
// for the place that its caller holds: a tenant which uses both has its quota twice.
type Quota struct {
	// Rate is how many calls a second it may make in the long run. 0: no bound.
	Rate float64
	// Burst is how many it may make at once. 0: a second's worth, at least 1.
	Burst int
}

// Validate reports everything that is wrong, joined; nil if nothing is.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("admission: "+format, args...)) }
	if c.MinLimit < 0 {
		bad("MinLimit %d is negative", c.MinLimit)
	}
	if c.MaxLimit < 0 {
		bad("MaxLimit %d is negative", c.MaxLimit)
	}
	if c.MinLimit > c.MaxLimit && c.MaxLimit > 0 {
		bad("MinLimit %d is above MaxLimit %d", c.MinLimit, c.MaxLimit)
	}
	if c.MaxTenants < 0 {
		bad("MaxTenants %d is negative", c.MaxTenants)
	}
	quota := func(of string, q Quota) {
		if !(q.Rate >= 0 && q.Rate <= maxRate) { // a NaN is not
			bad("%s: Rate %v is not between 0 and %g", of, q.Rate, maxRate)
		}
		if q.Burst < 0 {
			bad("%s: Burst %d is negative", of, q.Burst)
		}
	}
	quota("Quota", c.Quota)
	for tenant, q := range c.Quotas {
		if !resilience.ValidTenant(tenant) {
			bad("Quotas: %q is no name of a tenant", tenant)
		}
		quota(fmt.Sprintf("Quotas[%q]", tenant), q)
	}
	return errors.Join(errs...)
}

// maxRate is beyond what an instance can serve of anything.
const maxRate = 1e9

func (c Config) defaults() Config {
	if c.MinLimit <= 0 {
		c.MinLimit = DefaultMinLimit
	}
	if c.MaxLimit <= 0 {
		c.MaxLimit = max(DefaultMaxLimit, c.MinLimit)
	}
	c.MinLimit = min(c.MinLimit, c.MaxLimit)
	if c.Queue == 0 {
		c.Queue = DefaultQueue
	}
	if c.MaxTenants <= 0 {
		c.MaxTenants = DefaultMaxTenants
	}
	return c
}

// Stats is what a Controller is doing, for people and for tests.
type Stats struct {
	Limit    int           // calls that may be in progress
	Found    int           // the limit that was found last; 0 while there is none, and Limit is only the MaxLimit
	InFlight int           // calls that are
	Waiting  int           // calls in the queue
	Shed     uint64        // turned away for load, in all
	Late     uint64        // turned away since their deadline could not be met, in all
	Quota    uint64        // turned away by a quota, in all
	Wait     time.Duration // what calls admitted of late have waited on average
}
