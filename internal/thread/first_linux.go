package thread

import "syscall"

func first() bool { return syscall.Gettid() == syscall.Getpid() }
