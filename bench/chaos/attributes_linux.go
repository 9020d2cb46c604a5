package main

import "syscall"

// attributes: Ctrl-C is for the parent, and the kernel ends a member when the parent is gone, even one that is frozen.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
