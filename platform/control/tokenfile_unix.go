//go:build unix

package control

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// owned reports whether a file is this user's.
func owned(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// private reports whether nobody else may read or write it.
func private(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 == 0 }

// gone reports whether there is no process pid.
func gone(pid int) bool { return pid > 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
