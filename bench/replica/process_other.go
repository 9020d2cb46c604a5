//go:build !linux

package main

import (
	"syscall"
	"time"
)

// attributes: Ctrl-C is for the parent. A child notices by its standard input that the parent is gone.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// cpuOf is not known here.
func cpuOf(int) time.Duration { return 0 }

// rssOf is not known here.
func rssOf(int) (now, most int64) { return 0, 0 }
