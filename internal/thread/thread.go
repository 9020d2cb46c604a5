// Package thread gives goroutines threads of the system that are theirs alone, for what the kernel knows of a thread and
// not of a process: the network namespace, and the parent whose end a child is to follow.
package thread

import "runtime"

// Go runs f on a thread of its own that ends with it. It is never the first one of the process: that does not end before the
// process does, and what the kernel says of it (/proc/PID/ns/net, /proc/net) stands for the whole process.
func Go(f func()) {
	go func() {
		runtime.LockOSThread()
		if !first() {
			f() // never unlocked: the thread ends with the goroutine
			return
		}
		locked := make(chan struct{})
		go func() {
			runtime.LockOSThread() // cannot be the first, which is held until then
			close(locked)
			f()
		}()
		<-locked
		runtime.UnlockOSThread()
	}()
}
