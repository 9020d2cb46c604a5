package wal

import (
	"fmt"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

// The reasons of errors, all of failure.Domain.
const (
	// ReasonDamaged: a file is not as it was written. Code DataLoss; the text names file and offset.
	ReasonDamaged = "LOG_DAMAGED"
	// ReasonDiskFull: no space left. Code ResourceExhausted. What was acknowledged is there; free space and open again.
	ReasonDiskFull = disk.ReasonFull
	// ReasonDiskFailed: reading, writing or syncing failed. Code Internal.
	ReasonDiskFailed = disk.ReasonFailed
	// ReasonInUse: another process has the directory. Code FailedPrecondition.
	ReasonInUse = disk.ReasonInUse
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

func failed(err error, doing string) error { return disk.Failed(err, "log: "+doing) }
