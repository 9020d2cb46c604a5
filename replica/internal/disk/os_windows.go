package disk

import (
	"errors"
	"os"

	sys "golang.org/x/sys/windows"
)

const windows = true

var errQuota error = sys.ERROR_DISK_QUOTA_EXCEEDED

func lockFile(f *os.File) error {
	err := sys.LockFileEx(sys.Handle(f.Fd()), sys.LOCKFILE_EXCLUSIVE_LOCK|sys.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(sys.Overlapped))
	if errors.Is(err, sys.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}

// syncDir does nothing: NTFS journals its names, and a directory cannot be flushed.
func syncDir(string) error { return nil }
