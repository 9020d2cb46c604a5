package wal

import (
	"errors"
	"fmt"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

// The reasons of errors, all of failure.Domain.
const (
	// ReasonDamaged: a file is not as it was written. Code DataLoss; the text names file and offset.
	ReasonDamaged = "LOG_DAMAGED"
	// ReasonDiskFull: no space left. Code ResourceExhausted. What was acknowledged is there; free space and open again.
	ReasonDiskFull = "DISK_FULL"
	// ReasonDiskFailed: reading, writing or syncing failed. Code Internal.
	ReasonDiskFailed = "DISK_FAILED"
	// ReasonInUse: another process has the directory. Code FailedPrecondition.
	ReasonInUse = "DIR_IN_USE"
)

var errClosed = failure.New(failure.FailedPrecondition, "the log is closed")

// invalid is an error of the caller's program. It ends the log as any other does: who is wrong about what was written
// before would go on being wrong.
func invalid(format string, args ...any) error {
	return failure.New(failure.Internal, "log: refused "+format, args...)
}

// damaged says where a file is not as it was written.
func damaged(file string, offset int64, format string, args ...any) error {
	return failure.New(failure.DataLoss, "log: %s is damaged at offset %d: %s. "+
		"It was durable and is not any more; remove this member's data and let it join again with an empty directory",
		file, offset, fmt.Sprintf(format, args...)).WithReason(ReasonDamaged, failure.Domain)
}

// failed wraps an error of the file system.
func failed(err error, doing string) error {
	var e *failure.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return err
	case errors.Is(err, disk.ErrLocked):
		return failure.Wrap(err, failure.FailedPrecondition, "log: %s: %v", doing, err).WithReason(ReasonInUse, failure.Domain)
	case disk.Full(err):
		return failure.Wrap(err, failure.ResourceExhausted, "log: %s: %v: free space and start again; nothing acknowledged is lost", doing, err).
			WithReason(ReasonDiskFull, failure.Domain)
	}
	return failure.Wrap(err, failure.Internal, "log: %s: %v: what was acknowledged before is not touched any more", doing, err).
		WithReason(ReasonDiskFailed, failure.Domain)
}
