// Package disk is the file layer below everything durable in replica: the few operations that the log and the
// snapshots are made of, on the real file system ([OS]) or on a simulated one ([Sim]) that crashes, tears writes, loses
// renames, fills up and fails where a test says so.
//
// The contract is the weakest one that file systems give, not the kindest: what was written is durable after Sync of
// that file, and a name that was made, removed or changed is durable after SyncDir of its directory. Before that, any
// part of it may be there after a crash, and any part may not.
package disk

import (
	"errors"
	"io"
	"syscall"
)

// FS is a tree of files. Names are slash- or OS-separated paths, used as given. Safe for concurrent use.
type FS interface {
	// MkdirAll makes dir and its parents, and makes their names durable. It is no error if they are there.
	MkdirAll(dir string) error
	// Create makes an empty file, for reading and writing; one that is there is emptied.
	Create(name string) (File, error)
	// Open opens a file that is there, for reading and writing; errors.Is(err, fs.ErrNotExist) if it is not.
	Open(name string) (File, error)
	// Remove deletes a file.
	Remove(name string) error
	// Rename gives a file another name in the same directory, atomically, in place of one that may have had it.
	Rename(from, to string) error
	// List returns the files of dir in the order of their names, without directories.
	List(dir string) ([]Info, error)
	// SyncDir makes durable which names dir holds.
	SyncDir(dir string) error
	// Lock takes the file name for this process alone until the Closer is closed or the process ends, however it
	// does. It fails with [ErrLocked] at once if another has it, also one within this process.
	Lock(name string) (io.Closer, error)
}

// File is an open file. ReadAt may be used beside everything else; one caller at a time for the rest.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync makes what was written durable, and as much of the size as it takes to read it (fdatasync). After it has
	// failed, nothing may be supposed about what was written since the last that succeeded, and another Sync that
	// succeeds says nothing about it either (Rebello et al., "Can Applications Recover from fsync Failures?",
	// USENIX ATC 2020). So nobody here syncs twice: the file is given up.
	Sync() error
	// Allocate reserves room up to size and sets the file's size to it if it is smaller, so that writes below it
	// neither run out of space nor change the size. Where the system cannot reserve, only the size is set.
	Allocate(size int64) error
	// Truncate sets the size; what is added reads as zeros.
	Truncate(size int64) error
	Size() (int64, error)
	io.Closer
}

// Info is one file of a directory.
type Info struct {
	Name string // without the directory
	Size int64
}

// ErrLocked says that another process, or another part of this one, has locked the file.
var ErrLocked = errors.New("locked by another process")

// Full reports whether err says that there is no space left.
func Full(err error) bool {
	const windowsDiskFull, windowsHandleDiskFull = syscall.Errno(112), syscall.Errno(39)
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, errQuota) ||
		windows && (errors.Is(err, windowsDiskFull) || errors.Is(err, windowsHandleDiskFull))
}
