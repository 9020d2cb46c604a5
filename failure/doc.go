// Package failure is the one error type that crosses the wire.
//
// An [Error] has a [Code] that says what the caller may do about it, a message that is safe to show, and machine-readable
// details. It travels as a gRPC status and as an RFC 9457 problem+json document and arrives as an equal Error, so
// that errors.Is and errors.As work across processes as they do inside one:
//
//	var ErrOutOfStock = failure.New(failure.FailedPrecondition, "out of stock").WithReason("OUT_OF_STOCK", "shop")
//
//	errors.Is(err, failure.NotFound) // by code
//	errors.Is(err, ErrOutOfStock)    // by code, reason and domain, also when err came from another process
//
// What an Error wraps (its Cause) is for logs. It is never sent: neither GRPCStatus nor [ProblemOf] contain a word of it.
// A plain error that reaches the boundary becomes [Unknown] without its text, for the same reason.
//
// The mapping between codes, their names and HTTP statuses is one table, in table.go.
package failure
