package resilience

import (
	"time"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
)

// Outcome is how an attempt ended, as far as anything is decided by it. What each one means is in one table, below.
type Outcome uint8

// The outcomes.
const (
	// OK is an answer without error.
	OK Outcome = iota
	// Unsent: the request provably reached no handler (no connection, refused stream, GOAWAY before it).
	Unsent
	// NoInstance: there was none to send the request to.
	NoInstance
	// Unavailable: the instance said UNAVAILABLE. The request may have run.
	Unavailable
	// Broken: the connection broke under it. The request may have run, at an instance that most likely is gone.
	Broken
	// AttemptTimeout: the time of this attempt ran out while that of the call had not.
	AttemptTimeout
	// DeadlineExceeded: the time of the call ran out, or the callee's own did.
	DeadlineExceeded
	// Canceled: the caller no longer wants an answer.
	Canceled
	// Exhausted: RESOURCE_EXHAUSTED; over a quota, or too large.
	Exhausted
	// Shed: the instance was too busy to begin with it.
	Shed
	// Local: refused on this side, by throttle, bulkhead, rate limit or breaker.
	Local
	// Overdue: the time of the call ran out at an instance that had more of it than such calls take.
	Overdue
	// Fault: INTERNAL, UNKNOWN or DATA_LOSS. Another instance runs the same code.
	Fault
	// Aborted: lost a race. What to repeat is more than this one call, and only its caller knows it.
	Aborted
	// Denied: PERMISSION_DENIED or UNAUTHENTICATED.
	Denied
	// UnderWay: the instance knows that an attempt before is not through, and had no more time to wait for it. Whoever has
	// the time asks again, and gets its answer.
	UnderWay
	// Refused: an answer of the application: NOT_FOUND, INVALID_ARGUMENT and their kin.
	Refused

	outcomes // their number
)

// Verdict is a row of the table.
type Verdict struct {
	// RetrySafe and RetryUnsafe say whether the attempt may be followed by another one: of a call that may run twice,
	// and of any other.
	RetrySafe, RetryUnsafe bool
	// Answer: it decides the call, whatever another attempt that is under way would bring. An end that is no answer says only that
	// this instance, or this attempt's time, was not enough.
	Answer bool
	// Cost is what the next attempt takes from the budget. A timed-out attempt is still running somewhere, so what
	// follows it counts double. What was not sent has cost no instance anything. What was lost is replaced, see
	// [Budget.Replace], and costs this only beyond that.
	Cost int
	// Sample is what the attempt's duration is worth.
	Sample balance.Sample
	// Throttle is what it says about how busy the service is. What was not sent says nothing: it has cost no instance
	// anything, and holding it back would spare none.
	Throttle Vote
	// Health is what it says about the instance.
	Health balance.Health
}

// Vote is what an attempt says about whether the service can take more. It is about load, not about being right.
type Vote uint8

// The votes.
const (
	Neutral Vote = iota // nothing
	Accept              // the service dealt with it
	Reject              // it did not come to that
)

// table is the only place where it is decided what counts as what. All clients go by it.
var table = [outcomes]struct {
	name string
	Verdict
}{
	//                 name                 safe   unsafe answer cost sample             throttle health
	OK:               {"ok", Verdict{false, false, true, 0, balance.Latency, Accept, balance.Good}},
	Unsent:           {"unsent", Verdict{true, true, false, 0, balance.None, Neutral, balance.Bad}},
	NoInstance:       {"no instance", Verdict{true, true, false, 0, balance.None, Neutral, balance.Neutral}},
	Unavailable:      {"unavailable", Verdict{true, false, false, 1, balance.None, Reject, balance.Bad}},
	Broken:           {"connection broken", Verdict{true, false, false, 1, balance.None, Reject, balance.Bad}},
	AttemptTimeout:   {"attempt timeout", Verdict{true, false, false, 2, balance.LowerBound, Reject, balance.Bad}},
	DeadlineExceeded: {"deadline exceeded", Verdict{false, false, false, 0, balance.LowerBound, Neutral, balance.Neutral}},
	Canceled:         {"canceled", Verdict{false, false, true, 0, balance.None, Neutral, balance.Neutral}},
	Exhausted:        {"exhausted", Verdict{false, false, false, 0, balance.None, Neutral, balance.Neutral}},
	Shed:             {"shed", Verdict{true, true, false, 1, balance.None, Reject, balance.Neutral}},
	Local:            {"local", Verdict{false, false, true, 0, balance.None, Neutral, balance.Neutral}},
	Overdue:          {"overdue", Verdict{false, false, false, 0, balance.LowerBound, Reject, balance.Bad}},
	Fault:            {"fault", Verdict{false, false, true, 0, balance.Latency, Accept, balance.Suspicious}},
	Aborted:          {"aborted", Verdict{false, false, true, 0, balance.Latency, Accept, balance.Good}},
	UnderWay:         {"under way", Verdict{true, false, false, 1, balance.None, Accept, balance.Good}},
	Denied:           {"denied", Verdict{false, false, true, 0, balance.None, Accept, balance.Good}},
	Refused:          {"refused", Verdict{false, false, true, 0, balance.Latency, Accept, balance.Good}},
}

// Verdict returns what o means.
func (o Outcome) Verdict() Verdict {
	if o >= outcomes {
		o = Fault
	}
	return table[o].Verdict
}

// String returns the outcome's name in words, such as "attempt timeout".
func (o Outcome) String() string {
	if o >= outcomes {
		o = Fault
	}
	return table[o].name
}

// Sent says what is known about whether a request reached an instance.
type Sent uint8

// What is known.
const (
	// MaybeSent: it may have run. The zero value, because it is the careful assumption.
	MaybeSent Sent = iota
	// NotSent: it provably did not.
	NotSent
	// SentAndLost: it may have run, and its connection broke before there was an answer.
	SentAndLost
)

// String returns "maybe sent", "not sent" or "sent and lost".
func (s Sent) String() string {
	switch s {
	case NotSent:
		return "not sent"
	case SentAndLost:
		return "sent and lost"
	default:
		return "maybe sent"
	}
}

// Classify returns the outcome of an attempt that ended with code. bounded is the attempt's [Plan.Bounded]: with it,
// DEADLINE_EXCEEDED is the end of the attempt; without, the end of the call. The instance may report it a little
// earlier than our own clock does, since it has a margin of its own.
func Classify(code failure.Code, sent Sent, bounded bool) Outcome {
	switch code {
	case failure.OK:
		return OK
	case failure.Unavailable:
		// Only here: a request that was not sent because it was too large, or could not be encoded, will not be
		// sent better elsewhere.
		switch sent {
		case NotSent:
			return Unsent
		case SentAndLost:
			return Broken
		default:
			return Unavailable
		}
	case failure.DeadlineExceeded:
		if bounded {
			return AttemptTimeout
		}
		return DeadlineExceeded
	case failure.Canceled:
		return Canceled
	case failure.ResourceExhausted:
		return Exhausted
	case failure.Aborted:
		return Aborted
	case failure.PermissionDenied, failure.Unauthenticated:
		return Denied
	case failure.InvalidArgument, failure.NotFound, failure.AlreadyExists, failure.FailedPrecondition,
		failure.OutOfRange, failure.Unimplemented:
		return Refused
	case failure.Unknown, failure.Internal, failure.DataLoss:
		return Fault
	default:
		return Fault
	}
}

// Classify returns the outcome of the attempt that was planned so, that took so long, and that ended with e; nil is OK.
// It knows more than the function of that name: what was refused and by whom, and whether the instance had the time.
func (p Plan) Classify(e *failure.Error, sent Sent, took time.Duration) Outcome {
	switch {
	case e == nil:
		return OK
	case e.Local():
		return Local
	case e.Shed() && e.Code == failure.ResourceExhausted:
		return Shed
	case e.UnderWay():
		return UnderWay
	}
	o := Classify(e.Code, sent, p.Bounded)
	if o == DeadlineExceeded && p.usual > 0 && took >= p.usual {
		return Overdue
	}
	return o
}
