//go:build unix && !linux

package supervise

import (
	"errors"
	"os"
	"sync"
	"syscall"
)

// sysProcAttr puts the child in a process group of its own, so that a signal reaches what it starts, too, and ^C does
// not reach it. If this process is killed, the guardian alone ends the child.
func sysProcAttr(detached bool) *syscall.SysProcAttr {
	if detached {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Setpgid: true}
}

// whereabouts is about network namespaces, which there are none of.
type whereabouts struct{}

func (whereabouts) enter(ns *os.File) error {
	if ns != nil {
		return errors.ErrUnsupported
	}
	return nil
}

func (whereabouts) close() {}

// statuses are how children have ended that were watched and not yet reaped. Bounded by their number.
var statuses sync.Map

// watch returns when the child has ended. Until then stopped is told when it is stopped and continued by signals.
//
// There is no way in x/sys to see the end without reaping here, so that in the moment until reap a signal could meet
// another process that got the same id. Ids are given out in turn, so it would have to be the 99,999th process.
func watch(pid int, stopped func(bool)) {
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(pid, &status, syscall.WUNTRACED|wcontinued, nil)
		switch {
		case err == syscall.EINTR:
		case err == nil && status.Stopped():
			stopped(true)
		case err == nil && status.Continued():
			stopped(false)
		default:
			statuses.Store(pid, status)
			return
		}
	}
}

const wcontinued = 0x10 // <sys/wait.h> of macOS; package syscall lacks it

// reap returns how a child ended for which watch has returned.
func reap(pid int) syscall.WaitStatus {
	v, _ := statuses.LoadAndDelete(pid)
	status, _ := v.(syscall.WaitStatus)
	return status
}
