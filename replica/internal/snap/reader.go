package snap

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

// Reader gives back what was written with a Writer, each byte verified before it is handed out. Where the file is
// damaged, Read returns an error with [ReasonDamaged], never io.EOF. For one goroutine.
type Reader struct {
	id     ID
	name   string
	file   disk.File
	size   int64
	offset int64
	buf    []byte // memory of a chunk
	ready  []byte // verified, not handed out yet
	chunks uint64
	total  uint64
	err    error
}

// Open returns a reader of a snapshot's content. It stays readable until closed, also when the store has let go of it.
func (s *Store) Open(id ID) (*Reader, error) {
	r := &Reader{id: id, name: id.String() + snapSuffix}
	var err error
	if r.file, err = s.lend(id); err != nil {
		return nil, err
	}
	if err := r.begin(); err != nil {
		r.file.Close()
		return nil, err
	}
	return r, nil
}

// begin checks header and end.
func (r *Reader) begin() error {
	size, err := r.file.Size()
	if err != nil {
		return failed(err, "read "+r.name)
	}
	if size < headerBytes+endBytes {
		return damaged(r.name, size, "it is cut off")
	}
	b, err := r.read(0, headerBytes)
	if err != nil {
		return err
	}
	if string(b) != string(header(r.id)) {
		return damaged(r.name, 0, "the header is not that of the snapshot")
	}
	if b, err = r.read(size-endBytes, endBytes); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(b) != endMark {
		return damaged(r.name, size-endBytes, "it has no end")
	}
	r.size = int64(binary.LittleEndian.Uint64(b[8:]))
	r.offset = headerBytes
	return nil
}

// Size is the number of bytes that were written. That it is right is certain once Read has returned io.EOF.
func (r *Reader) Size() int64 { return r.size }

// Close ends reading.
func (r *Reader) Close() error { return r.file.Close() }

func (r *Reader) read(at int64, n int) ([]byte, error) {
	if cap(r.buf) < n {
		r.buf = make([]byte, n)
	}
	b := r.buf[:n]
	if got, err := r.file.ReadAt(b, at); got < n {
		if errors.Is(err, io.EOF) {
			return nil, damaged(r.name, at+int64(got), "it is cut off")
		}
		return nil, failed(err, "read "+r.name)
	}
	return b, nil
}

func (r *Reader) Read(p []byte) (int, error) {
	for len(r.ready) == 0 && r.err == nil {
		r.err = r.next()
	}
	if len(r.ready) == 0 {
		return 0, r.err
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

// next reads a chunk, or finds the end.
func (r *Reader) next() error {
	b, err := r.read(r.offset, chunkHeader)
	if err != nil {
		return err
	}
	length, want := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	if length == endMark {
		if b, err = r.read(r.offset, endBytes); err != nil {
			return err
		}
		if string(b) != string(end(r.id.Nonce, r.chunks, r.total)) || int64(r.total) != r.size {
			return damaged(r.name, r.offset, "the end does not fit what is before it")
		}
		return io.EOF
	}
	if length == 0 || length > maxChunkBytes {
		return damaged(r.name, r.offset, "a chunk has no possible length")
	}
	if b, err = r.read(r.offset+chunkHeader, int(length)); err != nil {
		return err
	}
	if crc32.Update(chunkSum(r.id.Nonce, r.chunks, length), castagnoli, b) != want {
		return damaged(r.name, r.offset, "the checksum of a chunk is wrong")
	}
	r.ready = b
	r.offset += chunkHeader + int64(length)
	r.chunks++
	r.total += uint64(length)
	return nil
}

// Raw is the file of a snapshot, for sending it as it is.
type Raw interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

type raw struct {
	disk.File
	size int64
}

func (r raw) Size() int64 { return r.size }

// Raw returns the file of a snapshot. It stays readable until closed, also when the store has let go of the snapshot.
func (s *Store) Raw(id ID) (Raw, error) {
	f, err := s.lend(id)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		f.Close()
		return nil, failed(err, "open "+id.String()+snapSuffix)
	}
	return raw{File: f, size: size}, nil
}
