//go:build unix

package autoscale

import "syscall"

// processGroup is the process group of a process.
func processGroup(pid int) (group int, ok bool) {
	if pid <= 0 {
		return 0, false
	}
	group, err := syscall.Getpgid(pid)
	return group, err == nil
}
