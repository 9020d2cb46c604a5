//go:build !linux

package disk

import "os"

// fdatasync is Sync: on darwin the runtime makes it F_FULLFSYNC, which reaches the medium.
func fdatasync(f *os.File) error { return f.Sync() }

func allocate(f *os.File, size int64) error { return extend(f, size) }
