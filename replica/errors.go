package replica

import "github.com/holdfast-go/holdfast/failure"

// Domain is that of the reasons below.
const Domain = "replica.holdfast"

// What Propose, Read and the changes of members may answer beside the machine's own errors. They are targets for
// errors.Is; the ones returned say more.
var (
	// ErrNoQuorum: until the deadline no majority of the members was reachable, or none led. A proposal may still be
	// applied later.
	ErrNoQuorum = failure.New(failure.Unavailable, "no majority of the members is reachable").WithReason("NO_QUORUM", Domain)
	// ErrOutcomeUnknown: the command may have been applied or not, and will not be any more. It takes a member that was
	// out of reach for so long that the others have forgotten it. Propose again what is harmless twice, or has a Once.
	ErrOutcomeUnknown = failure.New(failure.Aborted, "whether the command was applied is not known").WithReason("OUTCOME_UNKNOWN", Domain)
	// ErrStopped: this member has stopped, or never started; see the message. Another member may answer.
	ErrStopped = failure.New(failure.Unavailable, "this member has stopped").WithReason("STOPPED", Domain)
	// ErrFailed: this member has met a fault that it does not go on from: a disk that does not write, a machine that
	// panicked. The message has it.
	ErrFailed = failure.New(failure.Internal, "this member has failed").WithReason("FAILED", Domain)
	// ErrDiskStalled: a write to the log has taken 30 s. The host has stopped; Host.Run does not wait for the disk, so that
	// its process should end.
	ErrDiskStalled = failure.New(failure.Internal, "the disk does not answer").WithReason("DISK_STALLED", Domain)
	// ErrFull: too much waits on this member already. Nothing was done.
	ErrFull = failure.New(failure.ResourceExhausted, "too many commands wait").WithReason(failure.ReasonShed, failure.Domain)
	// ErrTooLarge: the command is larger than MaxCommand.
	ErrTooLarge = failure.New(failure.InvalidArgument, "the command is too large").WithReason("TOO_LARGE", Domain)
	// ErrResultTooLarge: the command was applied; its result, of more than 16 MiB, is lost. A Machine should not do that.
	ErrResultTooLarge = failure.New(failure.Internal, "the command was applied; its result is too large").WithReason("RESULT_TOO_LARGE", Domain)
	// ErrForeign: the directory holds data that does not belong to this group. The message names both and the cure.
	ErrForeign = failure.New(failure.FailedPrecondition, "the data is of another group").WithReason("FOREIGN_DATA", Domain)
	// ErrRemoved: this host was a member and is none any more. The message names the cure.
	ErrRemoved = failure.New(failure.FailedPrecondition, "this host was removed from the group").WithReason("REMOVED", Domain)
	// ErrNotMember: there is no member of that name.
	ErrNotMember = failure.New(failure.NotFound, "there is no such member").WithReason("NOT_A_MEMBER", Domain)
	// ErrChanging: another change of the members, or of the leader, is under way or has come between.
	ErrChanging = failure.New(failure.Aborted, "the members are being changed").WithReason("CHANGING", Domain)
)
