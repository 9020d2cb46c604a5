package rest

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/resilience"
)

// Repeat says which requests may run twice for one call, so that an attempt that may have run can be followed by another.
type Repeat uint8

// The choices.
const (
	// RepeatDefault: what HTTP declares safe or idempotent (RFC 9110, section 9.2), and what has an Idempotency-Key,
	// unless ClientConfig.IgnoreKeys is set.
	RepeatDefault Repeat = iota
	// RepeatNever: none, for a GET that does something. What was provably not sent is sent again all the same.
	RepeatNever
	// RepeatKeyed: what HTTP declares safe or idempotent, and what has an Idempotency-Key, also with IgnoreKeys.
	RepeatKeyed
	// RepeatAlways: all, for a POST that only asks.
	RepeatAlways
)

// MethodPolicy is what is different for some of a service's requests. Zero fields change nothing.
type MethodPolicy struct {
	// Repeat declares which of the requests may run twice. Declared wrongly, a lost answer means that something happens
	// twice.
	Repeat Repeat
	// Timeout, AttemptTimeout and MaxAttempts replace those of the client's Policy.
	Timeout        time.Duration
	AttemptTimeout time.Duration
	MaxAttempts    int
}

// ruleSet finds the policy of a request. It is not changed once it is made.
type ruleSet struct {
	base  method
	rules []rule // the longest path first, of equal ones those with a method
}

type rule struct {
	verb   string // "" for any
	path   string
	prefix bool
	method method
}

// method is what a request goes by.
type method struct {
	policy resilience.Policy
	repeat Repeat
}

func newRuleSet(p resilience.Policy, ignoreKeys bool, methods map[string]MethodPolicy) *ruleSet {
	s := &ruleSet{base: method{policy: p, repeat: RepeatKeyed}}
	if ignoreKeys {
		s.base.repeat = RepeatDefault
	}
	for key, m := range methods {
		verb, path := splitMethod(key)
		r := rule{verb: verb, path: path, prefix: strings.HasSuffix(path, "/"), method: s.base}
		r.method.policy = m.apply(p)
		if m.Repeat != RepeatDefault {
			r.method.repeat = m.Repeat
		}
		s.rules = append(s.rules, r)
	}
	slices.SortFunc(s.rules, func(a, b rule) int {
		return cmp.Or(cmp.Compare(len(b.path), len(a.path)), -cmp.Compare(a.verb, b.verb), cmp.Compare(a.path, b.path))
	})
	return s
}

// of returns the policy of a request. It does not allocate.
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
	return path == r.path || r.prefix && strings.HasPrefix(path, r.path)
}

// repeatable reports whether the request may run twice.
func (m *method) repeatable(req *http.Request) bool {
	switch m.repeat {
	case RepeatNever:
		return false
	case RepeatAlways:
		return true
	case RepeatDefault, RepeatKeyed:
	}
	return idempotent(req.Method) || m.repeat == RepeatKeyed && req.Header.Get(HeaderIdempotencyKey) != ""
}

// idempotent reports whether HTTP declares the method safe or idempotent (RFC 9110, section 9.2).
func idempotent(method string) bool {
	return readOnly(method) || method == http.MethodPut || method == http.MethodDelete
}

// readOnly reports whether HTTP declares the method safe: a request that only asks.
func readOnly(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// splitMethod splits a key of ClientConfig.Methods.
func splitMethod(key string) (verb, path string) {
	if verb, path, ok := strings.Cut(key, " "); ok {
		return verb, path
	}
	return "", key
}

func validateMethods(p resilience.Policy, methods map[string]MethodPolicy) error {
	var errs []error
	for key, m := range methods {
		verb, path := splitMethod(key)
		if !strings.HasPrefix(path, "/") || strings.ToUpper(verb) != verb || strings.ContainsAny(key[len(verb):], "?#") {
			errs = append(errs, fmt.Errorf("Methods: %q is neither a path nor a method and a path, such as \"GET /orders/\"", key))
		}
		if m.Repeat > RepeatAlways {
			errs = append(errs, fmt.Errorf("Methods: %s: Repeat: there is no %d", key, m.Repeat))
		}
		if err := m.apply(p).Validate(); err != nil {
			errs = append(errs, fmt.Errorf("Methods: %s: %w", key, err))
		}
	}
	return errors.Join(errs...)
}

// apply returns p as it is for the requests.
func (m MethodPolicy) apply(p resilience.Policy) resilience.Policy {
	if m.Timeout != 0 {
		p.Timeout = m.Timeout
	}
	if m.AttemptTimeout != 0 {
		p.AttemptTimeout = m.AttemptTimeout
	}
	if m.MaxAttempts != 0 {
		p.MaxAttempts = m.MaxAttempts
	}
	return p
}
