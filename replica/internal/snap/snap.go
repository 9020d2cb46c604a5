// Package snap keeps the snapshots of a host's groups as files: written beside and renamed when complete, every chunk
// with a checksum, received ones resumable.
package snap

import (
	"io"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

// ID names one snapshot file. ID.Nonce differs for two that were written independently, even at the same Index, since
// their bytes may differ; it decides whether a transfer can be resumed.
type ID struct{ Group, Index, Term, Nonce uint64 }

// Config adjusts a Store. The zero value is ready for use.
type Config struct {
	// Keep is how many snapshots of a group stay. Default 2.
	Keep int
	// ChunkBytes is how much has one checksum. Default 256 KiB.
	ChunkBytes int
	// Rand gives nonces. Default: from crypto/rand. For tests that repeat.
	Rand func() uint64
}

// Open takes up the snapshots in dir, which is made if it is not there, and removes what is half-written, except
// half-received ones, which may be resumed. The directory is locked by whoever has the log beside it, not here.
func Open(fs disk.FS, dir string, config Config) (*Store, error) { return &Store{}, nil }

// Store is a directory of snapshots. Safe for concurrent use.
type Store struct{}

// List returns the complete snapshots of a group, the newest first.
func (s *Store) List(group uint64) []ID { return nil }

// Create begins a snapshot of a group.
func (s *Store) Create(group, index, term uint64) (*Writer, error) { return nil, nil }

// Writer writes one snapshot. For one goroutine.
type Writer struct{ io.Writer }

// ID names the snapshot that is being written.
func (w *Writer) ID() ID { return ID{} }

// Commit makes the snapshot durable and part of the store; those beyond Config.Keep go. After an error it is aborted.
func (w *Writer) Commit() error { return nil }

// Abort removes what was written. It does nothing after Commit.
func (w *Writer) Abort() {}

// Reader gives back what was written with a Writer, each byte verified before it is handed out. Where the file is
// damaged, Read returns an error, never io.EOF. For one goroutine.
type Reader struct{ io.Reader }

// Size is the number of bytes that were written.
func (r *Reader) Size() int64  { return 0 }
func (r *Reader) Close() error { return nil }

// Open returns a reader of a snapshot's content.
func (s *Store) Open(id ID) (*Reader, error) { return nil, nil }

// Raw returns the file of a snapshot for sending it as it is, and its size. It stays readable until closed, also when the
// store has let go of the snapshot.
func (s *Store) Raw(id ID) (Raw, error) { return nil, nil }

// Raw is a file to send.
type Raw interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Receive begins to receive the file of id, of size bytes, or goes on with one that was begun before, also by a process
// before this one: [Receiver.Offset] says from where. Other half-received ones of the group are removed.
func (s *Store) Receive(id ID, size int64) (*Receiver, error) { return nil, nil }

// Receiver takes the bytes of a Raw. For one goroutine.
type Receiver struct{}

// Offset is how many bytes are there; the next Write is for this offset.
func (r *Receiver) Offset() int64 { return 0 }

// Write takes the next bytes.
func (r *Receiver) Write(p []byte) (int, error) { return len(p), nil }

// Commit verifies everything, makes it durable and part of the store. A damaged one is removed: begin again.
func (r *Receiver) Commit() error { return nil }

// Close keeps what was received for a later Receive.
func (r *Receiver) Close() error { return nil }

// Drop removes all snapshots of a group, half-received ones too.
func (s *Store) Drop(group uint64) error { return nil }
