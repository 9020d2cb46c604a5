package work

import "syscall"

// attributes: Ctrl-C is for the parent, and the kernel ends the child when the parent is gone, even one that is frozen.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
