package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// The reasons of this package's errors, in failure.Domain.
const (
	// ReasonTooLarge: the engine takes no message of that size (INVALID_ARGUMENT).
	ReasonTooLarge = "QUEUE_MESSAGE_TOO_LARGE"
	// ReasonFull: the engine has no room for the topic (RESOURCE_EXHAUSTED).
	ReasonFull = "QUEUE_FULL"
	// ReasonRefused: the engine will not do it, whatever is tried (FAILED_PRECONDITION).
	ReasonRefused = "QUEUE_REFUSED"
	// ReasonUnsupported: the engine cannot do what is asked for (FAILED_PRECONDITION).
	ReasonUnsupported = "QUEUE_UNSUPPORTED"
	// ReasonUnconfirmed: the engine has not confirmed in time; it may have the message (UNAVAILABLE, DEADLINE_EXCEEDED).
	ReasonUnconfirmed = "QUEUE_UNCONFIRMED"
	// ReasonUnderWay: another instance is handling the message (ABORTED). It is what an Inbox says to have the message brought
	// again in about a second, or after the error's RetryAfter: that is no failed attempt.
	ReasonUnderWay = "MESSAGE_UNDER_WAY"
	// ReasonClosed: the Queue is closed (UNAVAILABLE).
	ReasonClosed = "QUEUE_CLOSED"
)

// ErrClosed is returned by publications after Close.
var ErrClosed error = failure.New(failure.Unavailable, "the queue is closed").WithReason(ReasonClosed, failure.Domain)

// final reports whether the same would be said again, however often it is tried.
func final(err error) bool {
	return errors.Is(err, driver.ErrTooLarge) || errors.Is(err, driver.ErrRefused) || errors.Is(err, driver.ErrUnsupported)
}

// engineError is a driver's error as this package's.
func engineError(err error, what string, args ...any) error {
	if err == nil {
		return nil
	}
	what = fmt.Sprintf(what, args...)
	code, reason := failure.Unavailable, ""
	switch {
	case errors.Is(err, driver.ErrTooLarge):
		code, reason = failure.InvalidArgument, ReasonTooLarge
	case errors.Is(err, driver.ErrFull):
		code, reason = failure.ResourceExhausted, ReasonFull
	case errors.Is(err, driver.ErrRefused):
		code, reason = failure.FailedPrecondition, ReasonRefused
	case errors.Is(err, driver.ErrUnsupported):
		code, reason = failure.FailedPrecondition, ReasonUnsupported
	case errors.Is(err, ErrClosed):
		code, reason = failure.Unavailable, ReasonClosed
	case errors.Is(err, context.Canceled):
		code = failure.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = failure.DeadlineExceeded
	}
	e := failure.Wrap(err, code, "%s", what)
	if reason != "" {
		e = e.WithReason(reason, failure.Domain)
	}
	return e
}

// unconfirmed is the error of a publication that was given up at the end of ctx. cause is what the engine said last, nil
// if it said nothing.
func unconfirmed(ctx context.Context, topic string, cause error) error {
	switch {
	case cause != nil && errors.Is(cause, driver.ErrFull):
		return engineError(cause, "publish to %s", topic)
	case errors.Is(ctx.Err(), context.Canceled):
		return failure.Wrap(errors.Join(ctx.Err(), cause), failure.Canceled, "publish to %s: not confirmed, and canceled", topic).
			WithReason(ReasonUnconfirmed, failure.Domain)
	case cause == nil || errors.Is(cause, context.DeadlineExceeded):
		return failure.Wrap(context.DeadlineExceeded, failure.DeadlineExceeded, "publish to %s: not confirmed in time", topic).
			WithReason(ReasonUnconfirmed, failure.Domain)
	}
	return failure.Wrap(cause, failure.Unavailable, "publish to %s: not confirmed in time", topic).WithReason(ReasonUnconfirmed, failure.Domain)
}

// lacking reports what an engine does not have of what is asked for.
func lacking(have, want driver.Capabilities) error {
	var errs []error
	for _, c := range []struct {
		name       string
		have, want bool
	}{
		{"order per key", have.Ordered, want.Ordered},
		{"delayed redelivery", have.Delay, want.Delay},
		{"the count of deliveries", have.Counts, want.Counts},
		{"what was published before a group existed", have.Retains, want.Retains},
		{"sequenced batches", have.Sequenced, want.Sequenced},
	} {
		if c.want && !c.have {
			errs = append(errs, errors.New(c.name))
		}
	}
	if want.Deduplicates > have.Deduplicates {
		errs = append(errs, fmt.Errorf("IDs remembered for %v (it has %v)", want.Deduplicates, have.Deduplicates))
	}
	if want.MaxMessage > have.MaxMessage {
		errs = append(errs, fmt.Errorf("messages of %d bytes (it takes %d)", want.MaxMessage, have.MaxMessage))
	}
	if err := errors.Join(errs...); err != nil {
		return failure.Wrap(errors.Join(driver.ErrUnsupported, err), failure.FailedPrecondition, "the engine of the queue does not have what is required").
			WithReason(ReasonUnsupported, failure.Domain)
	}
	return nil
}
