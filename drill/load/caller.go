package load

import (
	"context"
)

// Caller makes calls to a target. Close it after the last one. Safe for concurrent use.
type Caller struct {
	target Target
}

// NewCaller returns a caller. It dials nothing yet.
func NewCaller(target Target) *Caller { return &Caller{target: target} }

// Prepare looks whether calls can be made at all: whether their templates are right, with these vars and "key" known to
// them, their edges are there, and their gRPC methods exist, for which it asks the services. The errors are joined, each
// with the call's name, and INVALID_ARGUMENT, or UNAVAILABLE when a service did not answer.
func (c *Caller) Prepare(ctx context.Context, vars []string, calls ...Call) error { return nil }

// Do makes a prepared call with vars, which may be nil, and says what became of it, with Due 0 and Vars as given. It takes at
// most the call's timeout, and ends with ctx.
func (c *Caller) Do(ctx context.Context, call Call, vars Values) Sample { return Sample{} }

// Close closes what the caller has opened.
func (c *Caller) Close() {}

// Values are what templates are filled with.
type Values map[string]Value

// Value is a text, or a number if that is what it becomes in JSON.
type Value struct {
	Text   string
	Number bool
}
