package kv

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/holdfast-go/holdfast/replica"
)

// How the state is written: a head (magic, format, revision, time of the last command, number of items), then each item in
// the order of the keys, as in results. The layer below checks the bytes; what is checked here is that they make sense.

const (
	snapshotMagic  = "hfkv"
	snapshotFormat = 1
	// maxValueBytes bounds a value that is read from outside. Proposing sets a tighter bound.
	maxValueBytes = 64 << 20
)

type snapshot struct {
	view *View
	now  int64
}

// Snapshot implements replica.Machine. It takes no time, whatever the size.
func (m *Machine) Snapshot() (replica.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &snapshot{view: m.viewLocked(), now: m.now}, nil
}

// Release implements replica.Snapshot.
func (s *snapshot) Release() { s.view = nil }

// Write implements replica.Snapshot.
func (s *snapshot) Write(to io.Writer) error {
	w := bufio.NewWriterSize(to, 64<<10)
	b := append(make([]byte, 0, 4096), snapshotMagic...)
	b = append(b, snapshotFormat)
	b = binary.AppendUvarint(b, s.view.revision)
	b = binary.AppendVarint(b, s.now)
	b = binary.AppendUvarint(b, uint64(s.view.items.Len())) //nolint:gosec // not negative
	_, err := w.Write(b)
	s.view.items.Scan(func(_ string, item *Item) bool {
		if err == nil {
			_, err = w.Write(appendItem(b[:0], item, item.Value))
		}
		return err == nil
	})
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return fmt.Errorf("write the store at revision %d: %w", s.view.revision, err)
	}
	return nil
}

// Restore implements replica.Machine. On an error the machine is as it was.
func (m *Machine) Restore(from io.Reader) error {
	fresh := Machine{}
	fresh.clear()
	if err := fresh.read(bufio.NewReaderSize(from, 64<<10)); err != nil {
		return fmt.Errorf("read a store: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.items, m.due, m.view = fresh.items, fresh.due, nil
	m.revision, m.now, m.bytes = fresh.revision, fresh.now, fresh.bytes
	m.history.restart(m.revision)
	return nil
}

func (m *Machine) read(r *bufio.Reader) error {
	head := make([]byte, len(snapshotMagic)+1)
	if _, err := io.ReadFull(r, head); err != nil {
		return fmt.Errorf("head: %w", err)
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return errors.New("it is none")
	}
	if f := head[len(snapshotMagic)]; f != snapshotFormat {
		return fmt.Errorf("format %d; this program knows %d", f, snapshotFormat)
	}
	in := stream{r: r}
	m.revision, m.now = in.number(), in.signed()
	count := in.number()
	last := ""
	for n := uint64(0); n < count && in.err == nil; n++ {
		item := in.item()
		switch {
		case in.err != nil:
		case n > 0 && item.Key <= last:
			in.err = fmt.Errorf("key %.40q follows %.40q", item.Key, last)
		case item.Created == 0 || item.Created > item.Revision || item.Revision > m.revision || item.Version == 0:
			in.err = fmt.Errorf("key %.40q of revisions %d to %d in one of %d", item.Key, item.Created, item.Revision, m.revision)
		default:
			last = item.Key
			m.items.Load(item.Key, item)
			m.bytes += item.size()
			if !item.Expires.IsZero() {
				m.due.Set(deadline{item.Expires.UnixNano(), item.Key})
			}
		}
	}
	if in.err != nil {
		return in.err
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("it does not end where it should"), err)
	}
	return nil
}

// stream reads fields as reader does, from what may be longer than memory.
type stream struct {
	r   *bufio.Reader
	err error
}

func (s *stream) number() uint64 {
	if s.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(s.r)
	s.failed(err)
	return n
}

func (s *stream) signed() int64 {
	if s.err != nil {
		return 0
	}
	n, err := binary.ReadVarint(s.r)
	s.failed(err)
	return n
}

// bytes reads a string of at most limit bytes. It allocates no more than there is to read, give or take a little.
func (s *stream) bytes(limit uint64) []byte {
	n := s.number()
	if s.err != nil {
		return nil
	}
	if n > limit {
		s.err = fmt.Errorf("%d bytes where at most %d are allowed", n, limit)
		return nil
	}
	const step = 1 << 20
	b := make([]byte, 0, min(n, step))
	for uint64(len(b)) < n {
		have := len(b)
		b = append(b, make([]byte, min(n-uint64(have), step))...) //nolint:gosec // not negative
		if _, err := io.ReadFull(s.r, b[have:]); err != nil {
			s.failed(err)
			return nil
		}
	}
	return b
}

func (s *stream) failed(err error) {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if s.err == nil {
		s.err = err
	}
}

func (s *stream) item() *Item {
	i := &Item{Key: string(s.bytes(MaxKeyBytes)), Value: s.bytes(maxValueBytes)}
	i.Created, i.Revision, i.Version = s.number(), s.number(), s.number()
	if n := s.number(); n > math.MaxInt64 {
		s.failed(errors.New("a time past the end of time"))
	} else if n != 0 {
		i.Expires = time.Unix(0, int64(n)).UTC()
	}
	if i.Key == "" {
		s.failed(errors.New("an empty key"))
	}
	return i
}
