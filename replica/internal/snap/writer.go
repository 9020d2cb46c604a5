package snap

import (
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

// out is a file that is written front to back, with a sync now and then.
type out struct {
	file     disk.File
	at       int64
	unsynced int
	every    int
}

func (o *out) write(p []byte) error {
	n, err := o.file.WriteAt(p, o.at)
	o.at += int64(n)
	if err != nil {
		return err
	}
	if o.unsynced += n; o.unsynced >= o.every {
		o.unsynced = 0
		return o.file.Sync()
	}
	return nil
}

// Writer writes one snapshot. For one goroutine.
type Writer struct {
	s      *Store
	id     ID
	name   string
	out    out
	buf    []byte // of the chunk that is filled, its header included
	chunks uint64
	total  uint64
	err    error
	closed bool
}

// Create begins a snapshot of a group. It counts for nothing until Commit.
func (s *Store) Create(group, index, term uint64) (*Writer, error) {
	w := &Writer{s: s, id: ID{Group: group, Index: index, Term: term, Nonce: s.config.Rand()}}
	w.name = w.id.String() + writingSuffix
	f, err := s.fs.Create(s.path(w.name))
	if err != nil {
		return nil, failed(err, "create "+w.name)
	}
	w.out = out{file: f, every: s.config.SyncBytes}
	w.buf = make([]byte, chunkHeader, chunkHeader+s.config.ChunkBytes)
	if err := w.out.write(header(w.id)); err != nil {
		w.Abort()
		return nil, failed(err, "write "+w.name)
	}
	return w, nil
}

// ID names the snapshot that is being written.
func (w *Writer) ID() ID { return w.id }

// Write takes the next bytes of the content. An error is final: what remains is Abort.
func (w *Writer) Write(p []byte) (n int, err error) {
	if w.err == nil && w.closed {
		w.err = failure.New(failure.FailedPrecondition, "snapshot: %s is closed", w.name)
	}
	for len(p) > 0 && w.err == nil {
		room := min(len(p), cap(w.buf)-len(w.buf))
		w.buf = append(w.buf, p[:room]...)
		p, n = p[room:], n+room
		if len(w.buf) == cap(w.buf) {
			w.flush()
		}
	}
	return n, w.err
}

func (w *Writer) flush() {
	if len(w.buf) == chunkHeader || w.err != nil {
		return
	}
	putChunk(w.buf, w.id.Nonce, w.chunks)
	if err := w.out.write(w.buf); err != nil {
		w.err = failed(err, "write "+w.name)
		return
	}
	w.chunks++
	w.total += uint64(len(w.buf) - chunkHeader)
	w.buf = w.buf[:chunkHeader]
}

// Commit makes the snapshot durable and part of the store. After an error it is aborted.
func (w *Writer) Commit() error {
	w.flush()
	if w.err == nil && w.closed {
		return failure.New(failure.FailedPrecondition, "snapshot: %s is closed", w.name)
	}
	if w.err == nil {
		w.err = failed(w.seal(), "write "+w.name)
	}
	if w.err != nil {
		w.Abort()
		return w.err
	}
	w.closed = true
	if err := w.s.publish(w.id, w.name); err != nil {
		_ = w.s.fs.Remove(w.s.path(w.name))
		return err
	}
	return nil
}

func (w *Writer) seal() error {
	if err := w.out.write(end(w.id.Nonce, w.chunks, w.total)); err != nil {
		return err
	}
	if err := w.out.file.Sync(); err != nil {
		return err
	}
	return w.out.file.Close()
}

// Abort removes what was written. It does nothing after Commit.
func (w *Writer) Abort() {
	if w.closed {
		return
	}
	w.closed = true
	w.out.file.Close()
	_ = w.s.fs.Remove(w.s.path(w.name)) // what stays is removed by the next Open
}
