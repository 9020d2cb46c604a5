package policy

import (
	"time"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/resilience"
)

// key is one key of a document: how it is read and written, and what there is to say about it. The table of keys is all
// that parser, Marshal and docs/policies.md go by. T is what it is a key of: a Service or a Method.
type key[T any] struct {
	path string // "calls.backoff.base"; a group has the paths below its own
	kind kind
	lo   float64 // the least that a number may be; the most is hi, if that is not 0
	hi   float64
	// off is the word that turns it off, "" if nothing does. It stands for -1, or for a group for what turnOff does.
	off     string
	turnOff func(*T)
	isOff   func(*T) bool
	// at returns where the value is: a *time.Duration, *int, *float64, *string, *Safe, **resilience.Criticality. nil for a
	// group. make makes sure that it is there, and is nil where it always is.
	at   func(*T) any
	make func(*T)
	has  func(*T) bool // for what make makes

	field    string // of the Go struct, as Validate's messages name it
	standard string // the default
	meaning  string
	wrong    string // what a wrong value breaks
}

type kind int

const (
	group kind = iota
	duration
	count  // a whole number
	number // any number
	share  // of 0 to 1
	word   // one of words
	safety
	level // of criticality
	quota // {rate, burst}, or a rate alone
	quotas
	methods
)

// String names a kind for docs/policies.md.
func (k kind) String() string {
	return [...]string{
		"group", "duration", "count", "number", "share", "word", "true, false, key", "criticality",
		"rate or {rate, burst}", "map of quotas", "map of methods",
	}[k]
}

var words = []string{balance.P2C, balance.HCL, balance.RoundRobin, balance.LeastRequest, balance.RingHash}

const off = -1

func serviceKeys() []key[Service] {
	calls := func(s *Service) *resilience.Policy { return &s.Calls.Policy }
	breaker := func(s *Service) {
		if s.Calls.Policy.Breaker == nil {
			s.Calls.Policy.Breaker = &resilience.BreakerPolicy{}
		}
	}
	hasBreaker := func(s *Service) bool { return s.Calls.Policy.Breaker != nil }
	return []key[Service]{
		{path: "calls", meaning: "how others call the service"},
		{
			path: "calls.timeout", kind: duration, field: "Timeout", at: func(s *Service) any { return &calls(s).Timeout },
			standard: "5s", meaning: "bound of a call, all attempts and waiting included; a deadline that the caller gave is bound by it too. By default only calls without a deadline are",
			wrong: "shorter than the slowest good call: good calls fail; much longer: callers wait for what is lost",
		},
		{
			path: "calls.attempt_timeout", kind: duration, off: "none", field: "AttemptTimeout", at: func(s *Service) any { return &calls(s).AttemptTimeout },
			standard: "from the observed latency", meaning: "bound of one attempt where another may follow",
			wrong: "shorter than a usual call: every call is cut off and sent again until the budget is empty; none: a frozen instance costs the whole call",
		},
		{
			path: "calls.attempt_floor", kind: duration, field: "AttemptFloor", at: func(s *Service) any { return &calls(s).AttemptFloor },
			standard: "250ms", meaning: "the shortest attempt_timeout that is taken from the observed latency",
			wrong: "shorter than the pauses of the service: wastes the budget",
		},
		{
			path: "calls.attempts", kind: count, lo: 1, hi: 10, field: "MaxAttempts", at: func(s *Service) any { return &calls(s).MaxAttempts },
			standard: "3", meaning: "attempts that may have reached an instance; with 1 only what was provably not sent is sent again",
			wrong: "more: multiplies the load on a service that fails slowly, up to the budget",
		},
		{path: "calls.backoff", meaning: "the wait before an attempt that follows a failure, random below a bound that doubles"},
		{
			path: "calls.backoff.base", kind: duration, field: "Backoff", at: func(s *Service) any { return &calls(s).Backoff.Base },
			standard: "25ms", meaning: "bound of the first wait",
			wrong: "short: callers that failed together come back together; long: the deadline passes in waiting",
		},
		{
			path: "calls.backoff.max", kind: duration, field: "Backoff", at: func(s *Service) any { return &calls(s).Backoff.Max },
			standard: "250ms", meaning: "bound that is no longer doubled, and the longest wait that a server may ask for",
			wrong: "below base: refused",
		},
		{
			path: "calls.budget", off: "off", meaning: "attempts beyond the first, of all calls of a client together; off: none",
			turnOff: func(s *Service) { calls(s).Budget = resilience.BudgetPolicy{Ratio: off, Floor: off, Burst: off} },
			isOff:   func(s *Service) bool { b := calls(s).Budget; return b.Ratio < 0 && b.Floor < 0 && b.Burst < 0 },
		},
		{
			path: "calls.budget.ratio", kind: share, off: "none", field: "Budget.Ratio", at: func(s *Service) any { return &calls(s).Budget.Ratio },
			standard: "0.1", meaning: "what each call adds: 0.1 is at most 10 % more load in the long run",
			wrong: "high: retries keep an overloaded service down",
		},
		{
			path: "calls.budget.floor", kind: number, off: "none", field: "Budget", at: func(s *Service) any { return &calls(s).Budget.Floor },
			standard: "3", meaning: "what each second adds, so that a client of few calls can retry at all",
			wrong: "high: many idle clients can retry a lot at once",
		},
		{
			path: "calls.budget.burst", kind: number, off: "none", field: "Budget", at: func(s *Service) any { return &calls(s).Budget.Burst },
			standard: "100", meaning: "what is there at the start, and the least that can be saved up",
			wrong: "low: an instance that dies fails calls; high: a storm of retries when all of them do",
		},
		{
			path: "calls.hedge", off: "off", meaning: "a second attempt beside one that takes longer than most do, of methods without side effects (protobuf NO_SIDE_EFFECTS; GET, HEAD, OPTIONS, TRACE) and of those whose own hedge is set; off: none",
			turnOff: func(s *Service) { calls(s).Hedge = resilience.HedgePolicy{Share: off} },
			isOff:   func(s *Service) bool { return calls(s).Hedge.Share < 0 },
		},
		{
			path: "calls.hedge.share", kind: share, field: "Hedge", at: func(s *Service) any { return &calls(s).Hedge.Share },
			standard: "0.04", meaning: "hedges, as a share of the calls, within the budget; retries use it up, too",
			wrong: "high: load that a busy service does not need",
		},
		{
			path: "calls.hedge.delay", kind: duration, field: "Hedge", at: func(s *Service) any { return &calls(s).Hedge.Delay },
			standard: "the observed 95th percentile", meaning: "how long an attempt runs before it is hedged",
			wrong: "fixed: every call is hedged when all become slower, until share is used up",
		},
		{
			path: "calls.throttle", off: "off", meaning: "calls are held back while the service refuses most of them; off: never",
			turnOff: func(s *Service) { calls(s).Throttle = resilience.ThrottlePolicy{K: off} },
			isOff:   func(s *Service) bool { return calls(s).Throttle.K < 0 },
		},
		{
			path: "calls.throttle.k", kind: number, lo: 1, hi: 100, field: "Throttle.K", at: func(s *Service) any { return &calls(s).Throttle.K },
			standard: "2", meaning: "requests that are sent for each that is accepted",
			wrong: "below 1.1: ordinary failures throttle; high: holds nothing back",
		},
		{
			path: "calls.throttle.window", kind: duration, field: "Throttle.Window", at: func(s *Service) any { return &calls(s).Throttle.Window },
			standard: "30s", meaning: "how long an answer counts, 1s to 5m",
			wrong: "long: recovers later; short: throttles on little evidence",
		},
		{
			path: "calls.throttle.floor", kind: share, field: "Throttle.Floor", at: func(s *Service) any { return &calls(s).Throttle.Floor },
			standard: "0.05", meaning: "share that is let through at the worst, but 1 a second if that is more",
			wrong: "low: recovery is noticed late; high: a service that is down is not left alone",
		},
		{
			path: "calls.max_in_flight", kind: count, lo: 1, field: "MaxInFlight", at: func(s *Service) any { return &calls(s).MaxInFlight },
			standard: "no bound", meaning: "calls of one client that are under way at a time, until the answer was read (streams until they are set up); one more fails at once",
			wrong: "low: refuses what the service could do",
		},
		{
			path: "calls.rate", kind: number, field: "Rate", at: func(s *Service) any { return &calls(s).Rate },
			standard: "no bound", meaning: "attempts of one client a second; one more fails at once",
			wrong: "low: refuses what the service could do",
		},
		{
			path: "calls.burst", kind: count, lo: 1, field: "Burst", at: func(s *Service) any { return &calls(s).Burst },
			standard: "a tenth of a second of rate", meaning: "attempts that may come at once, where rate bounds them",
			wrong: "low: refuses calls that come in bunches",
		},
		{
			path: "calls.breaker", make: breaker, has: hasBreaker, standard: "none",
			meaning: "a classic circuit breaker for the service as a whole, on where the key is there ({} for its defaults). Ejection and throttle do better without: they know instances and shares",
		},
		{
			path: "calls.breaker.failures", kind: share, field: "Breaker", has: hasBreaker, at: func(s *Service) any { return &s.Calls.Policy.Breaker.Failures },
			standard: "0.5", meaning: "share of failed attempts from which it opens",
			wrong: "low: opens for one sick instance of several",
		},
		{
			path: "calls.breaker.calls", kind: count, lo: 1, field: "Breaker", has: hasBreaker, at: func(s *Service) any { return &s.Calls.Policy.Breaker.Calls },
			standard: "20", meaning: "attempts that there must have been in window",
			wrong: "low: opens on chance",
		},
		{
			path: "calls.breaker.window", kind: duration, field: "Breaker.Window", has: hasBreaker, at: func(s *Service) any { return &s.Calls.Policy.Breaker.Window },
			standard: "10s", meaning: "over which time they are counted, 1s to 5m",
			wrong: "long: opens late",
		},
		{
			path: "calls.breaker.open", kind: duration, field: "Breaker", has: hasBreaker, at: func(s *Service) any { return &s.Calls.Policy.Breaker.Open },
			standard: "5s", meaning: "how long nothing is sent after that",
			wrong: "long: an outage of seconds becomes one of minutes",
		},
		{
			path: "calls.breaker.probes", kind: count, lo: 1, hi: 1000, field: "Breaker", has: hasBreaker, at: func(s *Service) any { return &s.Calls.Policy.Breaker.Probes },
			standard: "3", meaning: "attempts at a time after that, which have to succeed in a row for it to close",
			wrong: "high: floods a service that just came up",
		},
		{path: "calls.balance", meaning: "which instance a call goes to"},
		{
			path: "calls.balance.policy", kind: word, field: "Policy", at: func(s *Service) any { return &s.Calls.Balance.Policy },
			standard: balance.P2C, meaning: "p2c: the faster of two; hcl: the fastest one that is not busy, by probes, for large or mixed fleets; round_robin; least_request; ring_hash: the same instance for the same key",
			wrong: "round_robin: a slow instance gets as much as a fast one; ring_hash without keys is p2c",
		},
		{
			path: "calls.balance.subset", kind: count, lo: 1, field: "Subset", at: func(s *Service) any { return &s.Calls.Balance.Subset },
			standard: "all", meaning: "instances that one client uses",
			wrong: "below about 20: instances are loaded unevenly",
		},
		{
			path: "calls.balance.slow_start", kind: duration, off: "none", field: "SlowStart", at: func(s *Service) any { return &s.Calls.Balance.SlowStart },
			standard: standard(balance.DefaultSlowStart), meaning: "time in which the share of an instance that is new, or back, grows from a tenth to the whole",
			wrong: "none: cold caches meet full load; long: the others carry the load",
		},
		{
			path: "calls.balance.panic", kind: share, off: "none", field: "Panic", at: func(s *Service) any { return &s.Calls.Balance.Panic },
			standard: standard(balance.DefaultPanic), meaning: "share of instances that are well below which ejection is ignored",
			wrong: "low: the few that are left are overrun",
		},
		{
			path: "calls.balance.probe_rate", kind: number, hi: balance.MaxProbes, field: "ProbeRate", at: func(s *Service) any { return &s.Calls.Balance.ProbeRate },
			standard: standard(balance.DefaultProbeRate), meaning: "probes for each call that hcl asks for",
			wrong: "low: goes by stale answers; high: load",
		},
		{
			path: "calls.balance.ejection", off: "off", meaning: "a sick instance gets no calls for a while; off: never",
			turnOff: func(s *Service) { s.Calls.Balance.Ejection.Off = true },
			isOff:   func(s *Service) bool { return s.Calls.Balance.Ejection.Off },
		},
		{
			path: "calls.balance.ejection.consecutive", kind: count, lo: 1, off: "none", field: "Ejection", at: func(s *Service) any { return &s.Calls.Balance.Ejection.Consecutive },
			standard: standard(balance.DefaultConsecutive), meaning: "failures in a row",
			wrong: "low: ejects for chance; high: more calls fail first",
		},
		{
			path: "calls.balance.ejection.success_rate", kind: share, off: "none", field: "Ejection.SuccessRate", at: func(s *Service) any { return &s.Calls.Balance.Ejection.SuccessRate },
			standard: standard(balance.DefaultSuccessRate), meaning: "share of successes within 10 s below which an instance that is worse than the others is ejected",
			wrong: "high: ejects for chance",
		},
		{
			path: "calls.balance.ejection.min_samples", kind: count, lo: 1, field: "Ejection.MinSamples", at: func(s *Service) any { return &s.Calls.Balance.Ejection.MinSamples },
			standard: standard(balance.DefaultMinSamples), meaning: "calls within 10 s below which a share says nothing",
			wrong: "low: ejects for chance",
		},
		{
			path: "calls.balance.ejection.max_share", kind: share, field: "Ejection.MaxShare", at: func(s *Service) any { return &s.Calls.Balance.Ejection.MaxShare },
			standard: standard(balance.DefaultMaxEjected), meaning: "share of instances that may be ejected at a time",
			wrong: "high: those that are left are overrun",
		},
		{
			path: "calls.balance.ejection.probe", kind: duration, field: "Ejection.Probe", at: func(s *Service) any { return &s.Calls.Balance.Ejection.Probe },
			standard: standard(balance.DefaultProbe), meaning: "time to the first call that tries whether it is back",
			wrong: "short: more calls meet a sick instance",
		},
		{
			path: "calls.balance.ejection.max_probe", kind: duration, field: "Ejection.Probe", at: func(s *Service) any { return &s.Calls.Balance.Ejection.MaxProbe },
			standard: standard(balance.DefaultMaxProbe), meaning: "the longest time between two of them",
			wrong: "long: it is back late",
		},
		{
			path: "calls.methods", kind: methods, at: func(s *Service) any { return &s.Calls.Methods },
			standard: "none", meaning: `what is different for single methods: "/shop.Orders/Place", "/shop.Orders/" (all of them); for HTTP "GET /orders", "/orders/" (all below)`,
			wrong: "a name that no method has changes nothing",
		},
		{path: "serves", meaning: "how the service serves"},
		{
			path: "serves.timeout", kind: duration, off: "none", field: "", at: func(s *Service) any { return &s.Serves.Timeout },
			standard: "10s", meaning: "deadline of a call whose caller sent none",
			wrong: "none: a handler that hangs holds its resources for ever",
		},
		{
			path: "serves.admission", off: "off", meaning: "when a call is turned away since there is too much to do; off: never, and no quotas",
			turnOff: func(s *Service) { s.Serves.Admission.Off = true },
			isOff:   func(s *Service) bool { return s.Serves.Admission.Off },
		},
		{
			path: "serves.admission.min_limit", kind: count, lo: 1, field: "MinLimit", at: func(s *Service) any { return &s.Serves.Admission.MinLimit },
			standard: standard(admission.DefaultMinLimit), meaning: "calls in progress that the limit never goes below",
			wrong: "high: calls queue inside handlers, where nothing is ordered; low: a few slow calls hold up all others",
		},
		{
			path: "serves.admission.max_limit", kind: count, lo: 1, field: "MaxLimit", at: func(s *Service) any { return &s.Serves.Admission.MaxLimit },
			standard: standard(admission.DefaultMaxLimit), meaning: "calls in progress that are never exceeded",
			wrong: "low: refuses what the service could do",
		},
		{
			path: "serves.admission.queue", kind: count, lo: 1, off: "none", field: "Queue", at: func(s *Service) any { return &s.Serves.Admission.Queue },
			standard: standard(admission.DefaultQueue), meaning: "calls that wait for their turn; none: what is over the limit is turned away at once",
			wrong: "it bounds memory; how long calls wait is bounded by time",
		},
		{
			path: "serves.admission.max_tenants", kind: count, lo: 1, field: "MaxTenants", at: func(s *Service) any { return &s.Serves.Admission.MaxTenants },
			standard: standard(admission.DefaultMaxTenants), meaning: "tenants that are kept apart under quota",
			wrong: "low: tenants get their burst again too soon",
		},
		{
			path: "serves.quota", kind: quota, field: "Quota", at: func(s *Service) any { return &s.Serves.Admission.Quota },
			standard: "no bound", meaning: "calls a second of each tenant that is not in quotas, on each server of an instance",
			wrong: "low: turns away what could be served",
		},
		{
			path: "serves.quotas", kind: quotas, field: "Quotas", at: func(s *Service) any { return &s.Serves.Admission.Quotas },
			standard: "none", meaning: "calls a second of single tenants, on each server of an instance",
			wrong: "low: turns away what could be served",
		},
	}
}

func methodKeys() []key[Method] {
	return []key[Method]{
		{
			path: "safe", kind: safety, at: func(m *Method) any { return &m.Safe },
			standard: "from protobuf, HTTP or code", meaning: "whether the method may run twice for one call; key: if the call carries an idempotency key",
			wrong: "true where it is not: a lost answer means that something happens twice",
		},
		{
			path: "timeout", kind: duration, at: func(m *Method) any { return &m.Timeout },
			standard: "calls.timeout", meaning: "as calls.timeout", wrong: "as calls.timeout",
		},
		{
			path: "attempt_timeout", kind: duration, off: "none", at: func(m *Method) any { return &m.AttemptTimeout },
			standard: "calls.attempt_timeout", meaning: "as calls.attempt_timeout", wrong: "as calls.attempt_timeout",
		},
		{
			path: "attempts", kind: count, lo: 1, hi: 10, at: func(m *Method) any { return &m.MaxAttempts },
			standard: "calls.attempts", meaning: "as calls.attempts", wrong: "as calls.attempts",
		},
		{
			path: "hedge", off: "off", meaning: "as calls.hedge",
			turnOff: func(m *Method) { m.Hedge = resilience.HedgePolicy{Share: off} },
			isOff:   func(m *Method) bool { return m.Hedge.Share < 0 },
		},
		{
			path: "hedge.share", kind: share, at: func(m *Method) any { return &m.Hedge.Share },
			standard: "calls.hedge.share", meaning: "as calls.hedge.share", wrong: "as calls.hedge.share",
		},
		{
			path: "hedge.delay", kind: duration, at: func(m *Method) any { return &m.Hedge.Delay },
			standard: "calls.hedge.delay", meaning: "as calls.hedge.delay", wrong: "as calls.hedge.delay",
		},
		{
			path: "criticality", kind: level, at: func(m *Method) any { return &m.Criticality },
			standard: resilience.Critical.String(), meaning: "critical_plus, critical, sheddable_plus or sheddable, for calls that have and inherit none",
			wrong: "too high for too much: nothing is left to turn away",
		},
	}
}

// standard writes a default as it would stand in a document.
func standard[V time.Duration | int | float64](v V) string {
	switch v := any(v).(type) {
	case time.Duration:
		return formatDuration(v)
	case int:
		return formatNumber(float64(v))
	case float64:
		return formatNumber(v)
	}
	return ""
}
