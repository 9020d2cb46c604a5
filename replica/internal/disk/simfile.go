package disk

import (
	"errors"
	"io"
	"io/fs"
)

// simFile is an open file of a Sim.
type simFile struct {
	s      *Sim
	name   string
	inode  *simInode
	life   int
	closed bool
}

func (f *simFile) begin(op Op) (crash bool, err error) {
	if f.closed {
		return false, &fs.PathError{Op: op.Kind.String(), Path: f.name, Err: fs.ErrClosed}
	}
	op.Name = f.name
	return f.s.begin(op, f.life)
}

func (f *simFile) ReadAt(p []byte, off int64) (int, error) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if _, err := f.begin(Op{Kind: OpRead, Offset: off, Bytes: len(p)}); err != nil {
		return 0, err
	}
	if off >= int64(len(f.inode.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.inode.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *simFile) WriteAt(p []byte, off int64) (int, error) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	crash, err := f.begin(Op{Kind: OpWrite, Offset: off, Bytes: len(p)})
	var short ShortError
	switch {
	case crash:
		p = p[:f.s.rng.IntN(len(p)+1)]
	case errors.As(err, &short):
		p = p[:min(short.N, len(p))]
	case err != nil:
		return 0, err
	}
	if grow := off + int64(len(p)) - int64(len(f.inode.data)); grow > 0 {
		if full := f.s.full(OpWrite, f.name, grow); full != nil {
			room := max(0, f.s.capacity-f.s.used())
			p = p[:max(0, int64(len(p))-grow+min(room, grow))]
			err = full
		}
	}
	f.inode.write(p, off)
	return len(p), err
}

func (i *simInode) write(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	end := off + int64(len(p))
	if end > int64(len(i.data)) {
		i.data = resize(i.data, int(end))
	}
	copy(i.data[off:], p)
	for n := off / SectorBytes; n*SectorBytes < end; n++ {
		i.dirty[n] = struct{}{}
	}
}

func (i *simInode) truncate(size int64) {
	old := int64(len(i.data))
	i.data = resize(i.data, int(size))
	// A sector that was cut off and is there again holds zeros, which must win over what is durable of it.
	for n := size / SectorBytes; n*SectorBytes < old; n++ {
		i.dirty[n] = struct{}{}
	}
}

func (f *simFile) Sync() error {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	crash, err := f.begin(Op{Kind: OpSync})
	switch {
	case crash && f.s.rng.IntN(2) == 0, f.closed, errors.Is(err, ErrCrashed) && !crash:
		return err
	case err != nil && !crash:
		f.inode.writeBack(f.s.rng, 0.5)
		return err
	}
	f.inode.sync()
	return err
}

func (f *simFile) Allocate(size int64) error { return f.resize(OpAllocate, size) }
func (f *simFile) Truncate(size int64) error { return f.resize(OpTruncate, size) }

func (f *simFile) resize(kind Kind, size int64) error {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	crash, err := f.begin(Op{Kind: kind, Bytes: int(size)})
	if err != nil && (!crash || f.s.rng.IntN(2) == 0) {
		return err
	}
	grow := size - int64(len(f.inode.data))
	if grow < 0 && kind == OpAllocate {
		return err
	}
	if full := f.s.full(kind, f.name, grow); full != nil {
		return full
	}
	f.inode.truncate(size)
	return err
}

func (f *simFile) Size() (int64, error) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.s.down || f.life != f.s.life {
		return 0, ErrCrashed
	}
	return int64(len(f.inode.data)), nil
}

func (f *simFile) Close() error {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	f.closed = true
	return nil
}
