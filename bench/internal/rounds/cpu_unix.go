//go:build unix

package rounds

import (
	"syscall"
	"time"
)

// Used returns the CPU time that this process has used, and how often a thread of it went to sleep.
func Used() (cpu time.Duration, sleeps int64) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), int64(u.Nvcsw) //nolint:unconvert // 32 bits on some systems
}
