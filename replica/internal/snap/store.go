// Package snap keeps the snapshots of a host's groups as files: written beside and renamed when complete, every chunk
// with a checksum, received ones resumable.
package snap

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

// ID names one snapshot file. Nonce differs for two that were written independently, even at the same Index, since
// their bytes may differ; it decides whether a transfer can be resumed.
type ID struct{ Group, Index, Term, Nonce uint64 }

// String is the name of the file, without its suffix.
func (id ID) String() string {
	return fmt.Sprintf("%016x-%016x-%016x-%016x", id.Group, id.Index, id.Term, id.Nonce)
}

// Config adjusts a Store. The zero value is ready for use.
type Config struct {
	// Keep is how many snapshots of a group stay, the one that its log stands on and older ones. Default 2.
	Keep int
	// ChunkBytes is how much has one checksum. Default 256 KiB, at most 16 MiB.
	ChunkBytes int
	// SyncBytes is how much is written between two syncs, so that the log beside never waits long for the disk.
	// Default 1 MiB.
	SyncBytes int
	// Rand gives nonces. Default: from crypto/rand. For tests that repeat.
	Rand func() uint64
}

func (c Config) withDefaults() Config {
	c.Keep = cmp.Or(c.Keep, 2)
	c.ChunkBytes = min(cmp.Or(c.ChunkBytes, 256<<10), maxChunkBytes)
	c.SyncBytes = cmp.Or(c.SyncBytes, 1<<20)
	if c.Rand == nil {
		c.Rand = func() uint64 {
			var b [8]byte
			rand.Read(b[:])
			return binary.LittleEndian.Uint64(b[:])
		}
	}
	return c
}

// ReasonDamaged is the reason of an error about a file that is not as it was written, with the code DataLoss. Errors of
// the file system have the reasons of package disk.
const ReasonDamaged = "SNAPSHOT_DAMAGED"

const (
	snapSuffix    = ".snap" // complete
	writingSuffix = ".tmp"  // being written by this process
	partSuffix    = ".part" // received in part
)

// Store is a directory of snapshots. Safe for concurrent use.
type Store struct {
	fs     disk.FS
	dir    string
	config Config

	mu     sync.Mutex
	groups map[uint64][]ID // the newest first
	lent   map[ID]int      // files that are being read

	stop    sync.Once
	stopped chan struct{}
}

// Open takes up the snapshots in dir, which is made if it is not there, and removes what is half-written, except
// half-received ones, which may be resumed. It does not lock dir: whoever has the log beside it has done that.
func Open(fs disk.FS, dir string, config Config) (*Store, error) {
	s := &Store{fs: fs, dir: dir, config: config.withDefaults(), groups: map[uint64][]ID{}, lent: map[ID]int{}, stopped: make(chan struct{})}
	if err := fs.MkdirAll(dir); err != nil {
		return nil, failed(err, "make "+dir)
	}
	files, err := fs.List(dir)
	if err != nil {
		return nil, failed(err, "list "+dir)
	}
	for _, f := range files {
		id, suffix, ok := parseName(f.Name)
		switch {
		case !ok:
		case suffix == snapSuffix:
			s.groups[id.Group] = append(s.groups[id.Group], id)
		case suffix == writingSuffix:
			if err := fs.Remove(s.path(f.Name)); err != nil {
				return nil, failed(err, "remove "+f.Name)
			}
		}
	}
	// A name that is seen may be in memory alone, if the process before this one ended between giving it and syncing.
	if err := fs.SyncDir(dir); err != nil {
		return nil, failed(err, "sync "+dir)
	}
	for group := range s.groups {
		slices.SortStableFunc(s.groups[group], newestFirst)
	}
	return s, nil
}

func newestFirst(a, b ID) int {
	return cmp.Or(cmp.Compare(b.Index, a.Index), cmp.Compare(b.Term, a.Term))
}

func parseName(name string) (id ID, suffix string, ok bool) {
	suffix = filepath.Ext(name)
	base := strings.TrimSuffix(name, suffix)
	n, err := fmt.Sscanf(base, "%016x-%016x-%016x-%016x", &id.Group, &id.Index, &id.Term, &id.Nonce)
	return id, suffix, err == nil && n == 4 && id.String() == base
}

// Groups returns the groups of which there is a complete snapshot, ascending.
func (s *Store) Groups() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.groups))
}

// List returns the complete snapshots of a group, the newest first.
func (s *Store) List(group uint64) []ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.groups[group])
}

// Drop removes all snapshots of a group, half-received ones too.
func (s *Store) Drop(group uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.groups, group)
	return s.clean(func(id ID, _ string) bool { return id.Group == group })
}

// clean removes the files of which drop says so.
func (s *Store) clean(drop func(id ID, suffix string) bool) error {
	files, err := s.fs.List(s.dir)
	if err != nil {
		return failed(err, "list "+s.dir)
	}
	removed := false
	for _, f := range files {
		if id, suffix, ok := parseName(f.Name); ok && drop(id, suffix) {
			if err := s.fs.Remove(s.path(f.Name)); err != nil {
				return failed(err, "remove "+f.Name)
			}
			removed = true
		}
	}
	if !removed {
		return nil
	}
	return failed(s.fs.SyncDir(s.dir), "sync "+s.dir)
}

// publish gives a complete and durable file its name. From then on it counts.
func (s *Store) publish(id ID, from string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	to := id.String() + snapSuffix
	if err := s.fs.Rename(s.path(from), s.path(to)); err != nil {
		return failed(err, "rename "+from)
	}
	if err := s.fs.SyncDir(s.dir); err != nil {
		return failed(err, "sync "+s.dir)
	}
	if !slices.Contains(s.groups[id.Group], id) {
		s.groups[id.Group] = slices.Insert(s.groups[id.Group], 0, id)
		slices.SortStableFunc(s.groups[id.Group], newestFirst)
	}
	return nil
}

// Retain says that the log stands, durably, on a snapshot of a group: older ones beyond Config.Keep go, that one and
// newer ones stay. Nothing else removes a snapshot but Drop and Remove, since any other may be the one that the log is
// about to stand on. To be called when a mark is durable in the log, and once at the start. It takes its time with large
// files: no write to the log should wait for it. One that cannot be removed costs room, nothing else: the next time, or
// the next Open, tries again.
func (s *Store) Retain(group, index, term uint64) {
	gone := s.retire(group, index, term)
	if len(gone) == 0 || s.fs.SyncDir(s.dir) != nil {
		return // a crash must not find the old name with half of the content
	}
	for _, name := range gone {
		_ = s.erase(name)
	}
}

// retire takes what may go out of the store, and returns the names that the files have now: those of half-written ones.
func (s *Store) retire(group, index, term uint64) (gone []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := 0
	s.groups[group] = slices.DeleteFunc(s.groups[group], func(id ID) bool {
		if newestFirst(id, ID{Index: index, Term: term}) < 0 {
			return false
		}
		if kept++; kept <= s.config.Keep {
			return false
		}
		if s.lent[id] > 0 { // whoever reads it has it until it is closed
			return s.fs.Remove(s.path(id.String()+snapSuffix)) == nil
		}
		name := id.String() + writingSuffix
		if s.fs.Rename(s.path(id.String()+snapSuffix), s.path(name)) != nil {
			return false
		}
		gone = append(gone, name)
		return true
	})
	return gone
}

const (
	// eraseBytes is how much of a file is given back at once, and erasePause what is waited in between. To give back a
	// large file at once can keep the disk busy for long (discard), and every sync of the log with it.
	eraseBytes = 8 << 20
	erasePause = 20 * time.Millisecond
)

// erase removes a file, a piece at a time.
func (s *Store) erase(name string) error {
	f, err := s.fs.Open(s.path(name))
	if err != nil {
		return failed(err, "open "+name)
	}
	size, err := f.Size()
	for size -= eraseBytes; err == nil && size > 0; size -= eraseBytes {
		err = f.Truncate(size)
		select {
		case <-time.After(erasePause):
		case <-s.stopped:
			return failed(f.Close(), "close "+name) // the next Open removes it
		}
	}
	return failed(errors.Join(err, f.Close(), s.fs.Remove(s.path(name))), "remove "+name)
}

// Stop ends a Retain that takes its time. Nothing else changes.
func (s *Store) Stop() { s.stop.Do(func() { close(s.stopped) }) }

// lend opens the file of a snapshot, which stays whole until it is closed.
func (s *Store) lend(id ID) (disk.File, error) {
	s.mu.Lock()
	s.lent[id]++
	s.mu.Unlock()
	f, err := s.fs.Open(s.path(id.String() + snapSuffix))
	l := &lentFile{File: f, back: func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lent[id]--; s.lent[id] == 0 {
			delete(s.lent, id)
		}
	}}
	if err != nil {
		l.once.Do(l.back)
		return nil, failed(err, "open "+id.String()+snapSuffix)
	}
	return l, nil
}

type lentFile struct {
	disk.File
	once sync.Once
	back func()
}

// Close implements disk.File.
func (f *lentFile) Close() error {
	err := f.File.Close()
	f.once.Do(f.back)
	return err //nolint:wrapcheck // the file's own
}

// Remove removes one snapshot: a received one that turned out to be of no use, say.
func (s *Store) Remove(id ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups[id.Group] = slices.DeleteFunc(s.groups[id.Group], func(other ID) bool { return other == id })
	return failed(s.fs.Remove(s.path(id.String()+snapSuffix)), "remove "+id.String())
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

func failed(err error, doing string) error { return disk.Failed(err, "snapshot: "+doing) }

func damaged(name string, offset int64, why string) error {
	return failure.New(failure.DataLoss, "snapshot: %s is damaged at offset %d: %s", name, offset, why).
		WithReason(ReasonDamaged, failure.Domain)
}
