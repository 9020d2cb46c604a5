package queue

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lifecycle"
)

// blame says what an attempt's error says about its message.
type blame int

const (
	nobody     blame = iota // done
	theMessage              // the message can never be handled
	unknown                 // it may be the message, or anything else
	elsewhere               // something that the handler needs
	ourselves               // this instance, which stops
	waiting                 // nobody: it is being handled elsewhere
)

// verdict is what follows from the end of an attempt.
type verdict struct {
	blame blame
	// reason is why the message is set aside, of theMessage.
	reason string
	// after is when the handler wants it to be tried again, 0 if it does not say.
	after time.Duration
}

// judge is the table of errors. stopping: the attempt's ctx was ended because the instance stops.
func judge(err error, stopping bool) verdict {
	if err == nil {
		return verdict{}
	}
	if _, panicked := err.(*lifecycle.PanicError); panicked { //nolint:errorlint // the handler's own, whatever it panicked with
		return verdict{blame: unknown}
	}
	var u *undecodable
	if errors.As(err, &u) {
		return verdict{blame: theMessage, reason: "cannot be decoded"}
	}
	var r *rejected
	if errors.As(err, &r) {
		return verdict{blame: theMessage, reason: "rejected by its handler"}
	}
	if stopping && (errors.Is(err, context.Canceled) || failure.CodeOf(err) == failure.Canceled) {
		return verdict{blame: ourselves}
	}
	v := verdict{blame: blameOf(failure.CodeOf(err))}
	var l *later
	if errors.As(err, &l) {
		v.after = max(l.after, 0)
	}
	if e := failure.From(err); e.Reason == ReasonUnderWay && e.Domain == failure.Domain {
		v.blame = waiting
		if v.after == 0 {
			v.after = e.RetryAfter
		}
		return v
	}
	if l != nil {
		if v.blame == theMessage {
			v.blame = unknown
		}
	}
	if v.blame == theMessage {
		v.reason = "failed with " + failure.CodeOf(err).String()
	}
	return v
}

// blameOf is what a code says. What depends on credentials, or on which version of a service is deployed, passes when
// somebody repairs it.
func blameOf(code failure.Code) blame {
	switch code {
	case failure.OK:
		return nobody
	case failure.InvalidArgument, failure.NotFound, failure.AlreadyExists, failure.FailedPrecondition, failure.OutOfRange, failure.DataLoss:
		return theMessage
	case failure.Unavailable, failure.DeadlineExceeded, failure.ResourceExhausted, failure.Aborted,
		failure.Unauthenticated, failure.PermissionDenied, failure.Unimplemented:
		return elsewhere
	case failure.Unknown, failure.Internal, failure.Canceled:
		return unknown
	}
	return unknown
}
