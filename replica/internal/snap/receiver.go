package snap

import (
	"errors"
	"io"
	"io/fs"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Receiver takes the bytes of a Raw, and checks them as they come. For one goroutine.
type Receiver struct {
	s        *Store
	id       ID
	name     string
	size     int64
	out      out
	verifier *verifier
	err      error
	closed   bool
}

// Receive begins to receive the file of id, of size bytes, or goes on with one that was begun before, also by a process
// before this one: [Receiver.Offset] says from where. Other half-received ones of the group are removed. The room is
// reserved first, so that a disk that is too small says so before anything is sent. One Receiver of a group at a time.
func (s *Store) Receive(id ID, size int64) (*Receiver, error) {
	if size < headerBytes+endBytes {
		return nil, failure.New(failure.InvalidArgument, "snapshot: %s cannot have %d bytes", id, size)
	}
	r := &Receiver{s: s, id: id, name: id.String() + partSuffix, size: size, verifier: newVerifier(id)}
	// Nobody else has these files, and to read and write a large one again takes long: others do not wait for it.
	err := s.clean(func(other ID, suffix string) bool {
		return suffix == partSuffix && other.Group == id.Group && other != id
	})
	if err != nil {
		return nil, err
	}
	f, err := s.fs.Open(s.path(r.name))
	if errors.Is(err, fs.ErrNotExist) {
		f, err = s.fs.Create(s.path(r.name))
	}
	if err != nil {
		return nil, failed(err, "open "+r.name)
	}
	r.out = out{file: f, every: s.config.SyncBytes}
	if err := r.resume(); err != nil {
		f.Close()
		return nil, err
	}
	if err := f.Allocate(size); err != nil {
		f.Close()
		_ = s.fs.Remove(s.path(r.name)) // a full disk is not made fuller
		return nil, failed(err, "reserve room for "+r.name)
	}
	return r, nil
}

// resume finds out how much of the file is there and right.
func (r *Receiver) resume() error {
	buf := make([]byte, 64<<10)
	for at := int64(0); at < r.size; {
		n, err := r.out.file.ReadAt(buf[:min(int64(len(buf)), r.size-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return failed(err, "read "+r.name)
		}
		if r.verifier.write(buf[:n]) != "" || n == 0 {
			break
		}
		at += int64(n)
	}
	// What is right is written once more: it may be in memory only, if a sync has failed, and no later one would notice.
	good := r.verifier.good
	r.verifier = newVerifier(r.id)
	for r.out.at < good {
		n, err := r.out.file.ReadAt(buf[:min(int64(len(buf)), good-r.out.at)], r.out.at)
		if n == 0 {
			return failed(err, "read "+r.name)
		}
		r.verifier.write(buf[:n])
		began := time.Now()
		if err := r.out.write(buf[:n]); err != nil {
			return failed(err, "write "+r.name)
		}
		if err := r.s.pause(time.Since(began)); err != nil {
			return err
		}
	}
	return nil
}

// maxPause bounds what is waited after one write.
const maxPause = 250 * time.Millisecond

// pause waits as long as a write took: half of a slow disk stays for the log. An error: the store was stopped.
func (s *Store) pause(took time.Duration) error {
	if took < time.Millisecond {
		return nil
	}
	select {
	case <-time.After(min(took, maxPause)):
		return nil
	case <-s.stopped:
		return failure.New(failure.Unavailable, "snapshot: the store is stopped")
	}
}

// Offset is how many bytes are there; the next Write is for this offset.
func (r *Receiver) Offset() int64 { return r.out.at }

// Write takes the next bytes. An error is final; if they cannot be right, it has [ReasonDamaged] and Commit will fail.
func (r *Receiver) Write(p []byte) (int, error) {
	switch {
	case r.err != nil:
	case r.closed:
		r.err = failure.New(failure.FailedPrecondition, "snapshot: %s is closed", r.name)
	case int64(len(p)) > r.size-r.out.at:
		r.err = damaged(r.name, r.out.at, "more than was announced")
	default:
		if why := r.verifier.write(p); why != "" {
			r.err = damaged(r.name, r.verifier.offset, why)
		} else {
			r.err = failed(r.out.write(p), "write "+r.name)
		}
	}
	if r.err != nil {
		return 0, r.err
	}
	return len(p), nil
}

// Commit makes the snapshot durable and part of the store. One that is not complete or not right is an error, and
// removed: it has to be sent again from the beginning.
func (r *Receiver) Commit() error {
	if r.closed {
		return failure.New(failure.FailedPrecondition, "snapshot: %s is closed", r.name)
	}
	r.closed = true
	if r.err == nil && (!r.verifier.done || r.out.at != r.size) {
		r.err = damaged(r.name, r.out.at, "it is not complete")
	}
	if r.err == nil {
		r.err = failed(r.out.file.Sync(), "sync "+r.name)
	}
	r.out.file.Close()
	if r.err == nil {
		r.err = r.s.publish(r.id, r.name)
	}
	if r.err != nil {
		_ = r.s.fs.Remove(r.s.path(r.name))
	}
	return r.err
}

// Close keeps what was received for a later Receive. It does nothing after Commit.
func (r *Receiver) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	return r.out.file.Close()
}
