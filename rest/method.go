package rest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
)

// method is what the requests of one kind go by.
type method struct {
	policy      resilience.Policy
	safe        policy.Safe            // SafeDefault: what HTTP declares, whether or not there is a key
	hedged      bool                   // also what HTTP declares idempotent only
	criticality resilience.Criticality // of requests that have none
}

// ruleSet finds what a request goes by. It is not changed once it is made.
type ruleSet struct {
	base  method
	rules []rule // the longest path first, of equal ones those with a method
}

// rule is one of the Methods.
type rule struct {
	verb   string // "" for any
	path   string
	prefix bool
	method method
}

func newRuleSet(p resilience.Policy, ignoreKeys bool, methods map[string]policy.Method) *ruleSet {
	s := &ruleSet{base: method{policy: p, safe: policy.SafeKeyed}}
	if ignoreKeys {
		s.base.safe = policy.SafeDefault
	}
	for _, key := range slices.Sorted(maps.Keys(methods)) {
		verb, path := splitMethod(key)
		m := methods[key]
		r := rule{verb: verb, path: path, prefix: strings.HasSuffix(path, "/"), method: s.base}
		r.method.policy = applied(m, p)
		r.method.hedged = m.Hedge.Share > 0 || m.Hedge.Delay > 0
		if m.Safe != policy.SafeDefault {
			r.method.safe = m.Safe
		}
		if m.Criticality != nil {
			r.method.criticality = *m.Criticality
		}
		s.rules = append(s.rules, r)
	}
	slices.SortStableFunc(s.rules, func(a, b rule) int {
		return cmp.Or(cmp.Compare(len(b.path), len(a.path)), cmp.Compare(b.verb, a.verb))
	})
	return s
}

// of returns what a request goes by. It does not allocate.
func (s *ruleSet) of(verb, path string) *method {
	for i := range s.rules {
		if r := &s.rules[i]; r.matches(verb, path) {
			return &r.method
		}
	}
	return &s.base
}

func (r *rule) matches(verb, path string) bool {
	if r.verb != "" && r.verb != verb && (verb != "" || r.verb != http.MethodGet) {
		return false
	}
	if path == "" { // is sent as this
		path = "/"
	}
	return path == r.path || r.prefix && strings.HasPrefix(path, r.path)
}

// repeatable reports whether the request may run twice.
func (m *method) repeatable(req *http.Request) bool {
	switch m.safe {
	case policy.SafeNever:
		return false
	case policy.SafeAlways:
		return true
	case policy.SafeDefault, policy.SafeKeyed:
	}
	return idempotent(req.Method) || m.safe == policy.SafeKeyed && req.Header.Get(HeaderIdempotencyKey) != ""
}

// hedges reports whether requests with that method may run twice at a time. What is safe only by its key may not: whoever
// does things once per key makes the second wait for the first, or refuses it.
func (m *method) hedges(verb string) bool {
	return readOnly(verb) || m.hedged && (idempotent(verb) || m.safe == policy.SafeAlways)
}

// idempotent reports whether HTTP declares that repeating a request does no harm (RFC 9110, section 9.2.2).
func idempotent(verb string) bool {
	return readOnly(verb) || verb == http.MethodPut || verb == http.MethodDelete
}

// readOnly reports whether HTTP declares that a request only asks (RFC 9110, section 9.2.1).
func readOnly(verb string) bool {
	switch verb {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// splitMethod splits a key of Methods, such as "GET /orders/".
func splitMethod(key string) (verb, path string) {
	if verb, path, ok := strings.Cut(key, " "); ok {
		return verb, path
	}
	return "", key
}

func validateMethods(p resilience.Policy, methods map[string]policy.Method) error {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(methods)) {
		verb, path := splitMethod(key)
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?# ") || verb != strings.ToUpper(verb) {
			errs = append(errs, fmt.Errorf("methods: %q is neither a path nor a method and a path, such as \"GET /orders/\"", key))
		}
		if err := applied(methods[key], p).Validate(); err != nil {
			errs = append(errs, fmt.Errorf("methods: %s: %w", key, err))
		}
	}
	return errors.Join(errs...)
}

// applied is p as it is for a method.
func applied(m policy.Method, p resilience.Policy) resilience.Policy {
	if m.Timeout != 0 {
		p.Timeout = m.Timeout
	}
	if m.AttemptTimeout != 0 {
		p.AttemptTimeout = m.AttemptTimeout
	}
	if m.MaxAttempts != 0 {
		p.MaxAttempts = m.MaxAttempts
	}
	p.Hedge = policy.Overlay(p.Hedge, m.Hedge)
	return p
}
