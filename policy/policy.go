// Package policy is how services are called and how they serve, as one document a service: in code, in a file, or in
// a live store, from where it is applied to running processes.
//
// A document is read by [Parse], which reports everything that is wrong at once, each with its line. What it says is a
// [Service]; [Live] holds those of all services for the clients and servers of a process, which look there for each
// call. What a document does not say keeps the value that the next lower source has: code, then the system file, then
// the store. The zero value of every field is the tested default.
//
// docs/policies.md has the table of all keys.
package policy

import (
	"time"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/resilience"
)

// Service is the policy of one service. The zero value changes nothing.
type Service struct {
	// Calls is how others call it.
	Calls Calls
	// Serves is how it serves.
	Serves Serves
}

// Calls is how a service is called by the clients that have its policy.
type Calls struct {
	// Policy is that of all methods.
	Policy resilience.Policy
	// Balance chooses the instances.
	Balance balance.Config
	// Methods are what is different for single methods. For gRPC a key is a full name ("/shop.Orders/Place"), or that of
	// all methods of a gRPC service ("/shop.Orders/"); the full name wins. For HTTP it is a path, with a method or for all
	// ("GET /orders", "/orders/"); one that ends with a slash is for all paths that begin so, and the longest wins.
	Methods map[string]Method
}

// Method is what is different for a method. A field that is zero or nil leaves that of the service.
type Method struct {
	// Safe declares whether the method may run twice for one call.
	Safe Safe
	// Timeout, AttemptTimeout and MaxAttempts are those of resilience.Policy.
	Timeout        time.Duration
	AttemptTimeout time.Duration
	MaxAttempts    int
	// Hedge is that of resilience.Policy.
	Hedge resilience.HedgePolicy
	// Criticality is that of calls which have none of their own and inherit none. nil: critical.
	Criticality *resilience.Criticality
}

// Safe is a declaration whether a method may run twice for one call, so that an attempt that may have run can be followed
// by another. Declared wrongly, a lost answer means that something happens twice.
type Safe uint8

// The declarations.
const (
	// SafeDefault: what is known otherwise: from code, protobuf's idempotency_level, or HTTP's own rules.
	SafeDefault Safe = iota
	// SafeNever: it may not, whatever is known otherwise.
	SafeNever
	// SafeKeyed: it may for calls that carry an idempotency key, since the server de-duplicates these.
	SafeKeyed
	// SafeAlways: it may.
	SafeAlways
)

// String returns the word for it in a document: "false", "key", "true", or "default", which is what is not written.
func (s Safe) String() string {
	switch s {
	case SafeNever:
		return "false"
	case SafeKeyed:
		return "key"
	case SafeAlways:
		return "true"
	default:
		return "default"
	}
}

// Serves is how a service serves.
type Serves struct {
	// Timeout is the deadline of a call whose caller sent none. 0: that of the server's configuration. Negative: none.
	Timeout time.Duration
	// Admission is when calls are turned away, quotas of tenants included.
	Admission admission.Config
}
