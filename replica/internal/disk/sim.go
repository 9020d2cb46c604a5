package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// SectorBytes is what [Sim] writes at once or, rarely, tears.
const SectorBytes = 512

// ErrCrashed is what every operation on a crashed [Sim] returns, and on a file that was opened before its last crash.
var ErrCrashed = errors.New("the machine has crashed")

// Kind says what an [Op] does.
type Kind int

// The operations of FS and File that a Sim sees. All but OpRead, OpOpen and OpList change something and are counted.
const (
	OpRead Kind = iota
	OpOpen
	OpList
	OpMkdir
	OpCreate
	OpRemove
	OpRename
	OpSyncDir
	OpWrite
	OpSync
	OpAllocate
	OpTruncate
)

var kinds = [...]string{"read", "open", "list", "mkdir", "create", "remove", "rename", "syncdir", "write", "sync", "allocate", "truncate"}

func (k Kind) String() string { return kinds[k] }

// Op is one operation on a Sim.
type Op struct {
	Kind Kind
	Name string
	// N is the number of the operation among those that change something, from 1; 0 for one that does not.
	N      int
	Offset int64
	Bytes  int
}

func (o Op) String() string { return fmt.Sprintf("%d %s %s", o.N, o.Kind, o.Name) }

// ShortError is an error for Inject: a write takes the first N bytes and then fails with Err.
type ShortError struct {
	N   int
	Err error
}

func (s ShortError) Error() string { return fmt.Sprintf("short write of %d: %v", s.N, s.Err) }

func (s ShortError) Unwrap() error { return s.Err }

// Sim is a file system in memory that can crash. All that it decides comes from its seed, in the order of the calls.
//
// After [Sim.Crash] a file holds what was synced, and of what was not any selection of sectors; sometimes one is torn.
// Its size is the old or the new one. A directory holds the names as of SyncDir, changed by any selection of the changes
// since. A Sync that fails has written any selection of the sectors and forgets the others: they read as written until the
// crash, whatever is synced later, as on Linux.
type Sim struct {
	mu       sync.Mutex
	rng      *rand.Rand
	dirs     map[string]*simDir
	locks    map[string]int // name to the life that holds it
	life     int            // grows with every crash and kill
	ops      int
	crashAt  int
	down     bool
	inject   func(Op) error
	capacity int64
}

type simDir struct {
	names, durable map[string]*simInode
	pending        []simChange
}

// simChange is one change of names: from loses it (if not empty), to gets it (if not empty).
type simChange struct {
	from, to string
	inode    *simInode
}

type simInode struct {
	data, durable []byte
	dirty         map[int64]struct{} // sectors of data that differ, perhaps, from durable
}

// NewSim returns an empty file system.
func NewSim(seed uint64) *Sim {
	return &Sim{rng: rand.New(rand.NewPCG(seed, 0x686f6c6466617374)), dirs: map[string]*simDir{}, locks: map[string]int{}, capacity: 1 << 62}
}

// Inject has f asked before every operation; what it returns is what the operation fails with. nil ends it. f must not
// use the Sim.
func (s *Sim) Inject(f func(Op) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inject = f
}

// SetCapacity bounds the sizes of all files together; beyond it is ENOSPC.
func (s *Sim) SetCapacity(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capacity = bytes
}

// CrashAt has the machine crash in the n-th operation that changes something, counted as by Ops. What that operation was
// doing is done, partly done or not done. From then on all fails until Crash.
func (s *Sim) CrashAt(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.crashAt = n
}

// Ops is the number of operations so far that changed something.
func (s *Sim) Ops() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ops
}

// Down reports whether the machine has crashed and not been started again.
func (s *Sim) Down() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down
}

// Kill ends the process that uses the files: those open fail, locks are free. What was written stays, synced or not.
func (s *Sim) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life++
	s.down = false
	s.crashAt = 0
}

// Crash is a loss of power and a start. What was not synced is there in part, see Sim.
func (s *Sim) Crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life++
	s.down = false
	s.crashAt = 0
	// Whole crashes in which everything or nothing was written back are as telling as the mixed ones.
	keep := []float64{0, 1, 0.5, s.rng.Float64()}[s.rng.IntN(4)]
	for _, dir := range slices.Sorted(maps.Keys(s.dirs)) {
		d := s.dirs[dir]
		for _, c := range d.pending {
			if s.rng.Float64() < keep {
				c.apply(d.durable)
			}
		}
		d.pending = nil
		d.names = maps.Clone(d.durable)
		for _, name := range slices.Sorted(maps.Keys(d.names)) {
			d.names[name].crash(s.rng, keep)
		}
	}
}

func (c simChange) apply(names map[string]*simInode) {
	if c.from != "" && names[c.from] == c.inode {
		delete(names, c.from)
	}
	if c.to != "" {
		names[c.to] = c.inode
	}
}

// crash makes data what the medium holds.
func (i *simInode) crash(rng *rand.Rand, keep float64) {
	size := len(i.durable)
	if len(i.data) != size && rng.Float64() < keep {
		size = len(i.data)
	}
	i.writeBack(rng, keep)
	i.durable = resize(i.durable, size)
	i.data = slices.Clone(i.durable)
}

// writeBack makes some of the dirty sectors durable, and none dirty.
func (i *simInode) writeBack(rng *rand.Rand, keep float64) {
	for _, n := range slices.Sorted(maps.Keys(i.dirty)) {
		if rng.Float64() >= keep {
			continue
		}
		from, to := n*SectorBytes, min((n+1)*SectorBytes, int64(len(i.data)))
		if rng.IntN(16) == 0 {
			to = from + rng.Int64N(SectorBytes)
		}
		if to = min(to, int64(len(i.data))); from >= to {
			continue
		}
		if int64(len(i.durable)) < to {
			i.durable = resize(i.durable, int(to))
		}
		copy(i.durable[from:to], i.data[from:to])
	}
	clear(i.dirty)
}

func (i *simInode) sync() {
	i.durable = resize(i.durable, len(i.data))
	for n := range i.dirty {
		from, to := n*SectorBytes, min((n+1)*SectorBytes, int64(len(i.data)))
		if from < to {
			copy(i.durable[from:to], i.data[from:to])
		}
	}
	clear(i.dirty)
}

func resize(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-len(b))...)
}

// Clone returns another machine with the same files, as read now and all durable. Its own decisions come from seed.
func (s *Sim) Clone(seed uint64) *Sim {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := NewSim(seed)
	for dir, d := range s.dirs {
		to := &simDir{names: map[string]*simInode{}, durable: map[string]*simInode{}}
		for name, i := range d.names {
			inode := &simInode{data: slices.Clone(i.data), durable: slices.Clone(i.data), dirty: map[int64]struct{}{}}
			to.names[name], to.durable[name] = inode, inode
		}
		c.dirs[dir] = to
	}
	return c
}

// Flip damages a file: the bits of mask at offset, on the medium and as read.
func (s *Sim) Flip(name string, offset int64, mask byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.dirs[filepath.Dir(name)].names[filepath.Base(name)]
	i.data[offset] ^= mask
	if offset < int64(len(i.durable)) {
		i.durable[offset] ^= mask
	}
}

// used is the room that is taken.
func (s *Sim) used() (n int64) {
	for _, d := range s.dirs {
		for _, i := range d.names {
			n += int64(len(i.data))
		}
	}
	return n
}

// begin counts an operation and reports what it fails with, and whether the machine crashes in it.
func (s *Sim) begin(op Op, life int) (crash bool, err error) {
	if s.down || life != s.life {
		return false, ErrCrashed
	}
	if op.Kind > OpList {
		s.ops++
		op.N = s.ops
		if s.ops == s.crashAt {
			s.down = true
			return true, ErrCrashed
		}
	}
	if s.inject != nil {
		if err := s.inject(op); err != nil {
			return false, &fs.PathError{Op: op.Kind.String(), Path: op.Name, Err: err}
		}
	}
	return false, nil
}

func (s *Sim) dir(name string) (*simDir, string, error) {
	if d, ok := s.dirs[filepath.Dir(name)]; ok {
		return d, filepath.Base(name), nil
	}
	return nil, "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// MkdirAll implements FS.
func (s *Sim) MkdirAll(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir = filepath.Clean(dir)
	if crash, err := s.begin(Op{Kind: OpMkdir, Name: dir}, s.life); err != nil && (!crash || s.rng.IntN(2) == 0) {
		return err
	}
	for ; s.dirs[dir] == nil; dir = filepath.Dir(dir) {
		s.dirs[dir] = &simDir{names: map[string]*simInode{}, durable: map[string]*simInode{}}
	}
	if s.down {
		return ErrCrashed
	}
	return nil
}

// Create implements FS.
func (s *Sim) Create(name string) (File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = filepath.Clean(name)
	crash, err := s.begin(Op{Kind: OpCreate, Name: name}, s.life)
	if err != nil && !crash {
		return nil, err
	}
	d, base, derr := s.dir(name)
	if derr != nil {
		return nil, derr
	}
	if !crash || s.rng.IntN(2) == 0 {
		if i := d.names[base]; i != nil {
			i.truncate(0)
		} else {
			s.change(d, simChange{to: base, inode: &simInode{dirty: map[int64]struct{}{}}})
		}
	}
	return &simFile{s: s, name: name, inode: d.names[base], life: s.life}, err
}

func (s *Sim) change(d *simDir, c simChange) {
	c.apply(d.names)
	d.pending = append(d.pending, c)
}

// Open implements FS.
func (s *Sim) Open(name string) (File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = filepath.Clean(name)
	if _, err := s.begin(Op{Kind: OpOpen, Name: name}, s.life); err != nil {
		return nil, err
	}
	d, base, err := s.dir(name)
	if err != nil {
		return nil, err
	}
	i := d.names[base]
	if i == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &simFile{s: s, name: name, inode: i, life: s.life}, nil
}

// Remove implements FS.
func (s *Sim) Remove(name string) error { return s.move(OpRemove, name, "") }

// Rename implements FS.
func (s *Sim) Rename(from, to string) error { return s.move(OpRename, from, to) }

func (s *Sim) move(kind Kind, from, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	from = filepath.Clean(from)
	crash, err := s.begin(Op{Kind: kind, Name: from}, s.life)
	if err != nil && !crash {
		return err
	}
	d, base, derr := s.dir(from)
	if derr != nil {
		return derr
	}
	i := d.names[base]
	if i == nil {
		return &fs.PathError{Op: kind.String(), Path: from, Err: fs.ErrNotExist}
	}
	if crash && s.rng.IntN(2) == 0 {
		return err
	}
	c := simChange{from: base, inode: i}
	if to != "" {
		if filepath.Dir(filepath.Clean(to)) != filepath.Dir(from) {
			return &fs.PathError{Op: kind.String(), Path: from, Err: errors.ErrUnsupported}
		}
		c.to = filepath.Base(to)
	}
	s.change(d, c)
	return err
}

// List implements FS.
func (s *Sim) List(dir string) ([]Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir = filepath.Clean(dir)
	if _, err := s.begin(Op{Kind: OpList, Name: dir}, s.life); err != nil {
		return nil, err
	}
	d := s.dirs[dir]
	if d == nil {
		return nil, &fs.PathError{Op: "list", Path: dir, Err: fs.ErrNotExist}
	}
	out := []Info{}
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		out = append(out, Info{Name: name, Size: int64(len(d.names[name].data))})
	}
	return out, nil
}

// SyncDir implements FS.
func (s *Sim) SyncDir(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir = filepath.Clean(dir)
	crash, err := s.begin(Op{Kind: OpSyncDir, Name: dir}, s.life)
	if err != nil && (!crash || s.rng.IntN(2) == 0) {
		return err
	}
	d := s.dirs[dir]
	if d == nil {
		return &fs.PathError{Op: "syncdir", Path: dir, Err: fs.ErrNotExist}
	}
	d.durable = maps.Clone(d.names)
	d.pending = nil
	return err
}

// Lock implements FS. A lock leaves nothing in the directory.
func (s *Sim) Lock(name string) (io.Closer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, ErrCrashed
	}
	name = filepath.Clean(name)
	if life, ok := s.locks[name]; ok && life == s.life {
		return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	s.locks[name] = s.life
	return &simLock{s: s, name: name, life: s.life}, nil
}

type simLock struct {
	s    *Sim
	name string
	life int
}

func (l *simLock) Close() error {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.s.locks[l.name] == l.life {
		delete(l.s.locks, l.name)
	}
	return nil
}

// full reports ENOSPC if need more bytes do not fit.
func (s *Sim) full(op Kind, name string, need int64) error {
	if need > 0 && s.used()+need > s.capacity {
		return &fs.PathError{Op: op.String(), Path: name, Err: syscall.ENOSPC}
	}
	return nil
}
