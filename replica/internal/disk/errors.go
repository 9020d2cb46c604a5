package disk

import (
	"errors"

	"github.com/holdfast-go/holdfast/failure"
)

// The reasons of the errors that [Failed] makes, of failure.Domain.
const (
	// ReasonFull: no space left. Code ResourceExhausted.
	ReasonFull = "DISK_FULL"
	// ReasonFailed: reading, writing or syncing failed. Code Internal.
	ReasonFailed = "DISK_FAILED"
	// ReasonInUse: another process has the directory. Code FailedPrecondition.
	ReasonInUse = "DIR_IN_USE"
)

// Failed makes an error of a file operation one that a caller can act on, with a code and a reason; doing says what for,
// "log: write". A failure.Error stays as it is, and so does nil.
func Failed(err error, doing string) error {
	var e *failure.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return err
	case errors.Is(err, ErrLocked):
		return failure.Wrap(err, failure.FailedPrecondition, "%s: %v", doing, err).WithReason(ReasonInUse, failure.Domain)
	case Full(err):
		return failure.Wrap(err, failure.ResourceExhausted, "%s: %v: free space and start again; nothing acknowledged is lost", doing, err).
			WithReason(ReasonFull, failure.Domain)
	}
	return failure.Wrap(err, failure.Internal, "%s: %v", doing, err).WithReason(ReasonFailed, failure.Domain)
}
