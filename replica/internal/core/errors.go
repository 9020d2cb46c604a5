package core

import "github.com/holdfast-go/holdfast/failure"

// Reasons of failure.Domain that a proposal or a read may get; each Err below has one.
const (
	ReasonOutcomeUnknown = "OUTCOME_UNKNOWN"
	ReasonNotLeader      = "NOT_LEADER"
	ReasonStopped        = "STOPPED"
	ReasonTooLarge       = "TOO_LARGE"
	ReasonResultDropped  = "RESULT_DROPPED"
	ReasonResultTooLarge = "RESULT_TOO_LARGE"
)

var (
	// ErrFull refuses a proposal or read because too many wait already. It has not begun.
	ErrFull = failure.New(failure.ResourceExhausted, "too many proposals or reads wait in this group").WithReason(failure.ReasonShed, failure.Domain)
	// ErrTooLarge refuses a command over Config.MaxCommand.
	ErrTooLarge = failure.New(failure.InvalidArgument, "the command is too large").WithReason(ReasonTooLarge, failure.Domain)
	// ErrOutcomeUnknown: the session of this member has expired while the command was under way; it was applied or not.
	ErrOutcomeUnknown = failure.New(failure.Aborted, "the command may or may not have been applied").WithReason(ReasonOutcomeUnknown, failure.Domain)
	// ErrResultDropped: the command was applied, once; its result was too large to be kept for a repetition.
	ErrResultDropped = failure.New(failure.Aborted, "the command was applied; its result is not kept any more").WithReason(ReasonResultDropped, failure.Domain)
	// ErrResultTooLarge: the command was applied, once; the machine answered with more than MaxResult, which nobody keeps.
	ErrResultTooLarge = failure.New(failure.Internal, "the command was applied; its result is too large").WithReason(ReasonResultTooLarge, failure.Domain)
	// ErrStopped: this member has ended; whether the command was applied is not known here.
	ErrStopped = failure.New(failure.Unavailable, "the member has stopped").WithReason(ReasonStopped, failure.Domain)
	// ErrNotLeader: only the leader does this.
	ErrNotLeader = failure.New(failure.FailedPrecondition, "this member does not lead").WithReason(ReasonNotLeader, failure.Domain)
)
