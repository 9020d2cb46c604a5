package failure

import (
	"context"
	"errors"

	"google.golang.org/grpc/status"
)

// Code says what kind of failure it was, with the numbers and meanings of gRPC. A Code is itself an error, so that it
// can be the target of errors.Is: errors.Is(err, failure.NotFound).
//
//nolint:errname // it is a code first, and an error so that it can be a target
type Code uint32

// The codes. OK is the absence of an error: an Error that has it is treated as Unknown.
//
//nolint:errname // named as everybody names them
const (
	OK                 Code = 0
	Canceled           Code = 1  // the caller no longer wants the answer
	Unknown            Code = 2  // nothing is known; it may have happened
	InvalidArgument    Code = 3  // wrong whatever the state of the system; see Violations
	DeadlineExceeded   Code = 4  // too late; it may have happened
	NotFound           Code = 5  // what was asked for does not exist
	AlreadyExists      Code = 6  // what was to be created exists
	PermissionDenied   Code = 7  // the caller is known and not allowed to
	ResourceExhausted  Code = 8  // over a quota or shed by a busy server; see RetryAfter
	FailedPrecondition Code = 9  // the state forbids it; do not retry before the state changed
	Aborted            Code = 10 // lost a race; retry from the reading of the state on
	OutOfRange         Code = 11 // past the end
	Unimplemented      Code = 12 // not offered here
	Internal           Code = 13 // an invariant is broken
	Unavailable        Code = 14 // not now, perhaps soon, perhaps elsewhere
	DataLoss           Code = 15 // lost or damaged for good
	Unauthenticated    Code = 16 // the caller is not known
)

// String is the code's name on the wire, such as NOT_FOUND. A number that is no code is UNKNOWN.
func (c Code) String() string { return table[c.valid()].name }

// Error makes a Code a target for errors.Is. It is the same text as String.
func (c Code) Error() string { return c.String() }

// ParseCode is the inverse of String; ok is false for a name that is no code's.
func ParseCode(name string) (c Code, ok bool) {
	for i := range table {
		if table[i].name == name {
			return Code(i), true
		}
	}
	return Unknown, false
}

// valid maps numbers that are no code to Unknown, as gRPC demands of receivers.
func (c Code) valid() Code {
	if int(c) >= len(table) {
		return Unknown
	}
	return c
}

// failed is valid for something that is an error: OK is not an option.
func (c Code) failed() Code {
	if c == OK {
		return Unknown
	}
	return c.valid()
}

// CodeOf is the code of err: OK for nil; otherwise of the first error in err's tree (depth first, as errors.As walks it)
// that has one: an Error, a Code, anything with GRPCStatus, context.Canceled or context.DeadlineExceeded. The outermost
// therefore decides, and of joined errors the first one that knows more than Unknown. Everything else is Unknown.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	return codeOf(find(err))
}

// coded is a node of an error tree that has a code: *Error, Code, a carrier, or a context error.
type coded error

type carrier interface{ GRPCStatus() *status.Status }

// find returns the node of err's tree that speaks for it, or nil. One that says only Unknown yields to a later
// sibling that says more, never to what it wraps itself: whoever wrapped with Unknown wanted it hidden.
func find(err error) coded {
	if err == nil {
		return nil
	}
	if own(err) {
		return err
	}
	switch x := err.(type) { //nolint:errorlint // this is the walk of the tree
	case interface{ Unwrap() error }:
		return find(x.Unwrap())
	case interface{ Unwrap() []error }:
		var first coded
		for _, e := range x.Unwrap() {
			c := find(e)
			if c == nil {
				continue
			}
			if codeOf(c) != Unknown {
				return c
			}
			if first == nil {
				first = c
			}
		}
		return first
	}
	return nil
}

// own reports whether err itself, not what it wraps, has a code.
func own(err error) bool {
	switch x := err.(type) { //nolint:errorlint // this node only
	case *Error:
		return x != nil
	case Code:
		return true
	case carrier:
		return x.GRPCStatus() != nil
	}
	return err == context.Canceled || err == context.DeadlineExceeded //nolint:errorlint // this node only
}

func codeOf(c coded) Code {
	switch x := c.(type) {
	case *Error:
		return x.Code.failed()
	case Code:
		return x.failed()
	case carrier:
		return Code(x.GRPCStatus().Code()).failed()
	case nil:
		return Unknown
	}
	if errors.Is(c, context.Canceled) {
		return Canceled
	}
	return DeadlineExceeded
}
