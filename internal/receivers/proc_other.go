//go:build unix && !linux

package receivers

import "syscall"

// sysProcAttr leaves the child in this process's group, so that ^C ends it, too.
func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
