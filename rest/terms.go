package rest

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
)

// terms are how one service is called: what all its calls share, and the rules in force.
type terms struct {
	service string
	cfg     *ClientConfig
	budget  *resilience.Budget
	guard   *resilience.Guard
	latency latencies
	balance func(balance.Config) // is told when another way of balancing is in force; never nil

	inForce atomic.Pointer[inForce]
	mu      sync.Mutex // held to change inForce
}

// inForce is not changed once it is stored.
type inForce struct {
	live    uint64 // version of all live policies
	version uint64 // of this service's
	rules   *ruleSet
}

// newTerms returns the terms of a service. balance is not told of cfg.Balance, which is known.
func newTerms(service string, cfg *ClientConfig, balance func(balance.Config)) *terms {
	t := &terms{
		service: service,
		cfg:     cfg,
		budget:  resilience.NewBudget(cfg.Policy.Budget),
		guard:   resilience.NewGuard(cfg.Policy),
		balance: balance,
	}
	t.inForce.Store(&inForce{rules: newRuleSet(cfg.Policy, cfg.IgnoreKeys, cfg.Methods)})
	return t
}

// rules returns those in force. It costs an atomic load if no policy has changed since the last call.
func (t *terms) rules() *ruleSet {
	f := t.inForce.Load()
	if t.cfg.Policies.Version() != f.live {
		f = t.renew()
	}
	return f.rules
}

// renew looks at what has changed. A policy that does not go with the configuration is reported, and what was in force
// stays.
func (t *terms) renew() *inForce {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.inForce.Load()
	live := t.cfg.Policies.Version() // before the policy: if it changes meanwhile, the next call comes here again
	if live == old.live {
		return old
	}
	s, version := t.cfg.Policies.Service(t.service)
	next := &inForce{live: live, version: version, rules: old.rules}
	if version != old.version {
		if s == nil {
			s = new(policy.Service)
		}
		calls := policy.Overlay(policy.Calls{Policy: t.cfg.Policy, Balance: t.cfg.Balance, Methods: t.cfg.Methods}, s.Calls)
		if err := t.apply(next, calls); err != nil {
			t.cfg.Logger.Warn("policy does not go with the configuration; what was in force stays",
				slog.String("service", t.service), slog.Any("error", err))
		}
	}
	t.inForce.Store(next)
	return next
}

func (t *terms) apply(next *inForce, calls policy.Calls) error {
	cfg := ClientConfig{Policy: calls.Policy, Balance: calls.Balance, Methods: calls.Methods}
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("policy of %s: %w", t.service, err)
	}
	next.rules = newRuleSet(calls.Policy, t.cfg.IgnoreKeys, calls.Methods)
	t.budget.Configure(calls.Policy.Budget)
	t.guard.Configure(calls.Policy)
	t.balance(calls.Balance)
	return nil
}
