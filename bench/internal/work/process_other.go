//go:build !linux

package work

import "syscall"

// attributes: Ctrl-C is for the parent. A child notices by its standard input that the parent is gone.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
