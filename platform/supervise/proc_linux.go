package supervise

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// sysProcAttr puts the child in a process group of its own, so that a signal reaches what it starts, too, and ^C does
// not reach it. Unless detached, the kernel kills it when the thread that forked it ends, so also when this process is
// killed.
func sysProcAttr(detached bool) *syscall.SysProcAttr {
	if detached {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// whereabouts is the network namespace of one thread. A child is born in that of the thread that forks it.
type whereabouts struct {
	home *os.File // where the thread comes from; nil as long as it has not left
	at   *os.File // where it is; nil for home
}

// enter goes to a namespace, or home for nil. The thread goes only where it is asked to, so that no error leaves a child
// in a namespace that was meant for another one.
func (w *whereabouts) enter(ns *os.File) (err error) {
	if ns == w.at {
		return nil
	}
	if w.home == nil {
		if w.home, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return fmt.Errorf("find the network namespace of this process: %w", err)
		}
	}
	to := ns
	if to == nil {
		to = w.home
	}
	if err := unix.Setns(int(to.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	w.at = ns
	return nil
}

func (w *whereabouts) close() {
	if w.home != nil {
		w.home.Close()
	}
}

// watch returns when the child has ended, before it is reaped, so that its id stays its own until reap. Until then
// stopped is told when it is stopped and continued by signals.
func watch(pid int, stopped func(bool)) {
	for {
		info, err := waitid(pid, unix.WEXITED|unix.WSTOPPED|unix.WCONTINUED|unix.WNOWAIT)
		if err != nil || ended(info.Code) {
			return
		}
		// Take what was seen from the queue. It may be a newer one by now.
		info, err = waitid(pid, unix.WSTOPPED|unix.WCONTINUED|unix.WNOHANG)
		if err == nil && info.Signo != 0 {
			stopped(info.Code == cldStopped)
		}
	}
}

// From bits/siginfo-consts.h; x/sys has only the codes of faults.
const (
	cldStopped   = 5
	cldContinued = 6
	cldTrapped   = 4
)

func ended(code int32) bool {
	return code != cldStopped && code != cldContinued && code != cldTrapped
}

func waitid(pid, options int) (info unix.Siginfo, err error) {
	for {
		err = unix.Waitid(unix.P_PID, pid, &info, options, nil)
		if err != unix.EINTR {
			return info, err
		}
	}
}

// reap frees the id of a child for which watch has returned.
func reap(pid int) (status syscall.WaitStatus) {
	for {
		_, err := syscall.Wait4(pid, &status, 0, nil)
		if err != syscall.EINTR {
			return status
		}
	}
}
