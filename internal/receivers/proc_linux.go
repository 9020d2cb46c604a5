package receivers

import "syscall"

// sysProcAttr puts the child into a process group of its own, so that ^C does not reach it, and has the kernel kill it
// when the thread that started it ends, so also when this process is killed.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
