//go:build !linux

package broker

import (
	"syscall"
	"time"
)

// attributes: Ctrl-C is for the parent. A child notices by its standard input that the parent is gone.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// CPU returns 0: there is no portable way to ask.
func CPU(int) time.Duration { return 0 }
