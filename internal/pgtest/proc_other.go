//go:build unix && !linux

package pgtest

import "syscall"

// sysProcAttr leaves the child in this process's group, so that ^C ends it, too.
func sysProcAttr(owner *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: owner}
}
