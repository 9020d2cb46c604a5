package failure

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
)

// Error is a failure as callers see it. Make one with New or Wrap and change copies with the With methods; an Error
// that was handed to somebody is not modified any more, so that package-level ones are safe to share.
type Error struct {
	// Code says what the caller may do. Required; OK counts as Unknown.
	Code Code
	// Message is shown to the caller. It must contain nothing that the caller may not know.
	Message string
	// Reason and Domain name the failure for programs: "OUT_OF_STOCK" in "shop". Both or none.
	Reason, Domain string
	// Metadata adds facts for programs: which product, how many are left.
	Metadata map[string]string
	// Violations say which fields of the request were wrong, and why.
	Violations []Violation
	// RetryAfter, if positive, is how long the caller should wait before it tries again.
	RetryAfter time.Duration
	// Cause is for logs and for errors.Is and As inside this process. It is never sent.
	Cause error

	// foreign are details of a received status that Error has no field for. They are passed on.
	foreign []*anypb.Any
}

// Violation is one wrong field of a request.
type Violation struct {
	// Field is the path to it, such as "items[2].quantity".
	Field string `json:"field"`
	// Description says why it is wrong, for people.
	Description string `json:"description"`
}

// New returns an Error with a message made by fmt.Sprintf (format is taken literally when there are no args).
// A %w does not wrap; use Wrap.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: text(format, args)}
}

// Wrap returns an Error with err as its Cause. The message alone is for the caller: err's text is not part of it.
// Wrap of a nil error is an Error all the same.
func Wrap(err error, code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: text(format, args), Cause: err}
}

// From returns the Error that speaks for err (see CodeOf for which one that is), or nil for nil. An *Error of the tree is
// returned itself, without what it was wrapped in. Any other error becomes the Cause of a new Error that has its
// code and, if it carries a gRPC status, that status's message and details; CodeOf(err) == From(err).Code.
// Take care to return the result as an error only if it is not nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	c := find(err)
	switch x := c.(type) {
	case *Error:
		if x.Code == x.Code.failed() {
			return x
		}
		e := *x
		e.Code = x.Code.failed()
		return &e
	case carrier:
		e := fromProto(x.GRPCStatus().Proto())
		e.Cause = err
		return e
	}
	return &Error{Code: codeOf(c), Cause: err}
}

// With returns a copy with another message.
func (e *Error) With(format string, args ...any) *Error {
	c := *e
	c.Message = text(format, args)
	return &c
}

// WithCause returns a copy with another Cause.
func (e *Error) WithCause(err error) *Error {
	c := *e
	c.Cause = err
	return &c
}

// WithRetryAfter returns a copy that asks the caller to wait for d.
func (e *Error) WithRetryAfter(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// WithReason returns a copy with a name for programs.
func (e *Error) WithReason(reason, domain string) *Error {
	c := *e
	c.Reason, c.Domain = reason, domain
	return &c
}

// WithMetadata returns a copy with one more fact; e's own map is left alone.
func (e *Error) WithMetadata(key, value string) *Error {
	c := *e
	c.Metadata = maps.Clone(e.Metadata)
	if c.Metadata == nil {
		c.Metadata = make(map[string]string, 1)
	}
	c.Metadata[key] = value
	return &c
}

// WithViolation returns a copy with one more wrong field.
func (e *Error) WithViolation(field, format string, args ...any) *Error {
	c := *e
	c.Violations = append(slices.Clip(slices.Clone(e.Violations)), Violation{Field: field, Description: text(format, args)})
	return &c
}

// Error is "CODE: message: violations: cause", for logs, without a cause that says just what the message does; the caller is shown
// Message.
func (e *Error) Error() string {
	if e == nil { // somebody returned a nil *Error as an error: a bug, but not one to panic about in a log line
		return "<nil>"
	}
	var b strings.Builder
	b.WriteString(e.Code.failed().String())
	if e.Message != "" {
		b.WriteString(": ")
		b.WriteString(e.Message)
	}
	for i, v := range e.Violations {
		b.WriteString([]string{": ", ", "}[min(i, 1)])
		b.WriteString(v.Field + " " + v.Description)
	}
	if e.Cause != nil {
		if cause := e.Cause.Error(); cause != e.Message {
			b.WriteString(": ")
			b.WriteString(cause)
		}
	}
	return b.String()
}

// Unwrap returns the Cause.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Cause
}

// Is makes errors.Is true for e's Code and for an Error with the same code, reason and domain, wherever that one was
// made. An Error without a reason is only itself.
func (e *Error) Is(target error) bool {
	if e == nil {
		return false
	}
	switch t := target.(type) {
	case Code:
		return e.Code.failed() == t
	case *Error:
		return t != nil && t.Reason != "" && t.Domain != "" &&
			e.Code == t.Code && e.Reason == t.Reason && e.Domain == t.Domain
	}
	return false
}

// LogValue is a group of what is set, with the cause.
func (e *Error) LogValue() slog.Value {
	if e == nil {
		return slog.StringValue(e.Error())
	}
	attrs := []slog.Attr{slog.String("code", e.Code.failed().String())}
	str := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	str("message", e.Message)
	str("reason", e.Reason)
	str("domain", e.Domain)
	if len(e.Metadata) > 0 {
		attrs = append(attrs, slog.Any("metadata", e.Metadata))
	}
	if len(e.Violations) > 0 {
		attrs = append(attrs, slog.Any("violations", e.Violations))
	}
	if e.RetryAfter > 0 {
		attrs = append(attrs, slog.Duration("retry_after", e.RetryAfter))
	}
	if e.Cause != nil {
		str("cause", e.Cause.Error())
	}
	return slog.GroupValue(attrs...)
}

// text keeps a message without arguments literal, so that a percent sign in it is one.
func text(format string, args []any) string {
	if len(args) == 0 {
		return format
	}
	return fmt.Sprintf(format, args...)
}
