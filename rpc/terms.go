package rpc

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
)

// rules is how a service is called: what was configured, and over it the policy in force. It is immutable; calls that
// have begun go by the one that they began with.
type rules struct {
	version uint64 // of the service's policy; 0: it has none
	policy  resilience.Policy
	methods map[string]policy.Method
}

// method is what a client knows of one method. What was measured stays when the terms change.
type method struct {
	name    string
	safe    bool // says the protobuf definition
	pure    bool // and that it changes nothing
	latency *resilience.Latency
	terms   atomic.Pointer[terms]
}

// terms is how one method is called.
type terms struct {
	rules       *rules // that they come from
	policy      resilience.Policy
	safe        bool // may run twice for one call
	hedged      bool // may also do so at the same time
	keyed       bool // an idempotency key makes it safe
	criticality resilience.Criticality
}

// current returns the rules of now. As long as no policy has changed, that is two loads.
func (t *target) current() *rules {
	if t.cfg.Policies == nil || t.cfg.Policies.Version() == t.seen.Load() {
		return t.rules.Load()
	}
	return t.renew()
}

// renew makes the rules those of the policy in force. One that does not go together with what was configured is
// refused, and the rules stay.
func (t *target) renew() *rules {
	t.changes.Lock()
	defer t.changes.Unlock()
	old := t.rules.Load()
	seen := t.cfg.Policies.Version() // first, so that what comes in between is seen the next time
	s, version := t.cfg.Policies.Service(t.service)
	if version == old.version {
		t.seen.Store(seen)
		return old
	}
	next := &rules{version: version, policy: t.cfg.Policy}
	balancing := t.cfg.Balance
	if s != nil {
		next.policy = policy.Overlay(next.policy, s.Calls.Policy)
		next.methods = s.Calls.Methods
		balancing = policy.Overlay(balancing, s.Calls.Balance)
	}
	if err := t.check(next, balancing.Validate()); err != nil {
		t.cfg.Logger.LogAttrs(t.background, slog.LevelError, "rpc client: policy refused",
			slog.String("service", t.service), slog.Any("error", err))
		next = &rules{version: version, policy: old.policy, methods: old.methods}
	} else {
		t.budget.Configure(next.policy.Budget)
		t.guard.Configure(next.policy)
		t.balancer.Configure(t.balance(balancing))
		t.use(balancing.Subset)
	}
	t.rules.Store(next)
	t.seen.Store(seen)
	return next
}

// check reports what is wrong with rules that nobody has checked as a whole.
func (t *target) check(r *rules, balancing error) error {
	if balancing != nil {
		return balancing
	}
	if err := r.policy.Validate(); err != nil {
		return err
	}
	names := make(map[string]bool, len(r.methods)+len(t.cfg.Methods))
	for name := range t.cfg.Methods {
		names[name] = true
	}
	for name := range r.methods {
		names[name] = true
	}
	for name := range names {
		if err := t.terms(&method{name: name}, r).policy.Validate(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// terms returns how m is called under r: what is said of the method goes over what is said of all, and within that the
// policy in force over what was configured.
func (t *target) terms(m *method, r *rules) *terms {
	out := &terms{rules: r, policy: r.policy, safe: m.safe, hedged: m.pure, keyed: true}
	if of, ok := byMethod(t.cfg.Methods, m.name); ok {
		out.policy = of.apply(out.policy)
		out.safe = out.safe || of.Safe
		out.hedged = out.hedged || chosen(of.Hedge)
		out.criticality = of.Criticality
	}
	of, ok := byMethod(r.methods, m.name)
	if !ok {
		out.hedged = out.hedged && out.safe
		return out
	}
	out.hedged = out.hedged || chosen(of.Hedge)
	out.policy = MethodPolicy{
		Timeout: of.Timeout, AttemptTimeout: of.AttemptTimeout, MaxAttempts: of.MaxAttempts, Hedge: of.Hedge,
	}.apply(out.policy)
	switch of.Safe {
	case policy.SafeNever:
		out.safe, out.keyed = false, false
	case policy.SafeKeyed:
		out.safe = false
	case policy.SafeAlways:
		out.safe = true
	case policy.SafeDefault:
	}
	out.hedged = out.hedged && out.safe
	if of.Criticality != nil {
		out.criticality = *of.Criticality
	}
	return out
}

// chosen reports whether a method's own policy says that it is hedged.
func chosen(p resilience.HedgePolicy) bool { return p.Share > 0 || p.Delay > 0 }

// byMethod returns what is said of a method by its full name, or of all methods of its service.
func byMethod[T any](of map[string]T, name string) (T, bool) {
	v, ok := of[name]
	if !ok {
		v, ok = of[name[:strings.LastIndexByte(name, '/')+1]]
	}
	return v, ok
}
