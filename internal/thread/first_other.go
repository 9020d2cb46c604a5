//go:build !linux

package thread

// first is about what only Linux has.
func first() bool { return false }
