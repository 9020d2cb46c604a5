package disk

import "io"

// Failing returns fs with operations that fail as fail says. It is asked before each, with "write" for one that takes
// space, "sync", or "change" for what is left of those that change something; one for which it returns an error is not made
// and returns that. What is read is left alone.
func Failing(fs FS, fail func(op string) error) FS { return &failing{fs, fail} }

type failing struct {
	FS
	fail func(op string) error
}

// MkdirAll implements FS.
func (f *failing) MkdirAll(dir string) error {
	if _, err := f.FS.List(dir); err != nil { // one that is there takes no space
		if err := f.fail("write"); err != nil {
			return err
		}
	}
	return f.FS.MkdirAll(dir)
}

// Create implements FS.
func (f *failing) Create(name string) (File, error) {
	if err := f.fail("write"); err != nil {
		return nil, err
	}
	return f.file(f.FS.Create(name))
}

// Open implements FS.
func (f *failing) Open(name string) (File, error) { return f.file(f.FS.Open(name)) }

func (f *failing) file(file File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &failingFile{file, f.fail}, nil
}

// Remove implements FS.
func (f *failing) Remove(name string) error {
	if err := f.fail("change"); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

// Rename implements FS.
func (f *failing) Rename(from, to string) error {
	if err := f.fail("change"); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

// SyncDir implements FS.
func (f *failing) SyncDir(dir string) error {
	if err := f.fail("sync"); err != nil {
		return err
	}
	return f.FS.SyncDir(dir)
}

type failingFile struct {
	File
	fail func(op string) error
}

// WriteAt implements io.WriterAt.
func (f *failingFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fail("write"); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

// Sync implements File.
func (f *failingFile) Sync() error {
	if err := f.fail("sync"); err != nil {
		return err
	}
	return f.File.Sync()
}

// Allocate implements File.
func (f *failingFile) Allocate(size int64) error {
	if err := f.fail("write"); err != nil {
		return err
	}
	return f.File.Allocate(size)
}

// Truncate implements File.
func (f *failingFile) Truncate(size int64) error {
	if err := f.fail("change"); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

var (
	_ io.WriterAt = (*failingFile)(nil)
	_ FS          = (*failing)(nil)
)
