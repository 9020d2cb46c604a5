// Package fileconfig keeps settings in a directory: the value of KEY is the content of the file DIR/KEY. Whoever changes a
// file by renaming another one over it, as Put does, is never read half-way; a directory that Kubernetes fills from a
// ConfigMap changes so, too.
//
// The directory is read at intervals: there is no way to be told of changes that works on every file system.
package fileconfig

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/internal/diskfile"
)

const (
	// DefaultEvery is how often the directory is read.
	DefaultEvery = 300 * time.Millisecond
	// maxEntries bounds one List; it is more than package config uses.
	maxEntries = 5000
	// maxDepth bounds the directories within each other.
	maxDepth = 16
)

var (
	errClosed = errors.New("closed")
	errKey    = errors.New("not the key of a file")
)

// Config says where the files are.
type Config struct {
	// Dir is the directory. While it is missing, that is an error and not a store without settings: what is in force
	// stays. So does it while a directory within it is missing that was there before, for what is below that: such as
	// Dir/policies, of a volume that is gone. Whoever means to remove everything leaves the directory empty. Put creates
	// directories. Names that begin with a dot are left alone.
	Dir string
	// Every is how often it is read for changes; default DefaultEvery. Longer, changes are in force later; shorter costs
	// reading all files more often.
	Every time.Duration
}

// Driver implements driver.Store on a directory.
type Driver struct {
	dir   string
	every time.Duration
	done  chan struct{}
	once  sync.Once

	walking chan struct{}                                        // has something while the directory is read
	read    func(path string, limit int64) (b []byte, err error) // diskfile.Read but for tests

	mu     sync.Mutex
	states map[string]state // by prefix, so that revisions grow with every change that was seen
	there  map[string]bool  // directories of prefixes, "" or with a '/' at the end, that were read once
}

type state struct {
	hash     uint64
	revision uint64
}

// Open returns a Driver. The directory need not be there.
func Open(cfg Config) (*Driver, error) {
	if cfg.Dir == "" {
		return nil, errors.New("file settings: no directory")
	}
	if cfg.Every < 0 {
		return nil, fmt.Errorf("file settings: Every %v is negative", cfg.Every)
	}
	if cfg.Every == 0 {
		cfg.Every = DefaultEvery
	}
	return &Driver{
		dir: cfg.Dir, every: cfg.Every, done: make(chan struct{}), walking: make(chan struct{}, 1), read: diskfile.Read,
		states: make(map[string]state), there: make(map[string]bool),
	}, nil
}

// Close implements driver.Store.
func (d *Driver) Close() error {
	d.once.Do(func() { close(d.done) })
	return nil
}

// Identity implements driver.Identified.
func (d *Driver) Identity() string {
	if dir, err := filepath.Abs(d.dir); err == nil {
		return "file:" + dir
	}
	return "file:" + d.dir
}

// List implements driver.Store. A file that cannot be read, or is too large, is an Entry with its Err. A file system that
// hangs makes it an error at the end of ctx, and so it does each List after that until it hangs no more: one goroutine waits
// for it, and not one more each time.
func (d *Driver) List(ctx context.Context, prefix string) (driver.Listing, error) {
	select {
	case d.walking <- struct{}{}:
	case <-ctx.Done():
		return driver.Listing{}, fmt.Errorf("list %s: a listing before this one has not ended: %w", prefix, ctx.Err())
	}
	type result struct {
		driver.Listing
		error
	}
	listed := make(chan result, 1)
	go func() {
		defer func() { <-d.walking }()
		var r result
		r.error = errVanished
		for try := 1; try <= tries && errors.Is(r.error, errVanished); try++ {
			r.Listing, r.error = d.list(ctx, prefix, try == tries)
		}
		listed <- r
	}()
	select {
	case r := <-listed:
		if r.error != nil {
			return driver.Listing{}, fmt.Errorf("list %s: %w", prefix, r.error)
		}
		return r.Listing, nil
	case <-ctx.Done():
		return driver.Listing{}, fmt.Errorf("list %s: %s has not been read in time: %w", prefix, d.dir, ctx.Err())
	}
}

// tries is how often a listing under which files vanish is made.
const tries = 4

// errVanished is the end of a listing under which a file vanished: it was removed, or the whole directory was, and only
// another listing can tell.
var errVanished = errors.New("files vanish while they are listed")

// vanished reports whether err is that of a file that was there a moment ago.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// list is List, once. A link to nothing looks like a file that vanishes, until the last time.
func (d *Driver) list(ctx context.Context, prefix string, last bool) (driver.Listing, error) {
	var out driver.Listing
	if err := ctx.Err(); err != nil {
		return out, err
	}
	hash := fnv.New64a()
	found, err := d.walk(ctx, "", prefix, 0, last, func(key, path string) error {
		if len(out.Entries) >= maxEntries {
			return fmt.Errorf("more than %d files", maxEntries)
		}
		e := driver.Entry{Key: key}
		e.Value, e.Err = d.read(path, driver.MaxValue)
		if vanished(e.Err) {
			return errVanished
		}
		e.Revision = revision(path, e)
		fmt.Fprintf(hash, "%s\x00%d\x00", key, e.Revision)
		out.Entries = append(out.Entries, e)
		return nil
	})
	if own := directory(prefix); err == nil && d.gone(own, found) {
		err = fmt.Errorf("%s was there, and is missing: %w", filepath.Join(d.dir, filepath.FromSlash(own)), fs.ErrNotExist)
	}
	if err != nil {
		return driver.Listing{}, err
	}
	out.Revision = d.seen(prefix, hash.Sum64())
	return out, nil
}

// directory is the one that the keys with a prefix are in, or below: "" or with a '/' at its end.
func directory(prefix string) string { return prefix[:strings.LastIndexByte(prefix, '/')+1] }

// gone reports whether a directory that was not found now was found before.
func (d *Driver) gone(dir string, found bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if found && len(d.there) < maxEntries {
		d.there[dir] = true
	}
	return !found && d.there[dir]
}

// seen returns the revision of what is below prefix.
func (d *Driver) seen(prefix string, hash uint64) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.states[prefix]
	if s.revision == 0 || s.hash != hash {
		s = state{hash: hash, revision: s.revision + 1}
		if len(d.states) < maxEntries {
			d.states[prefix] = s
		}
	}
	return s.revision
}

// walk calls each for the files whose keys begin with prefix, in the order of their names, and reports whether it has read
// the directory of prefix.
func (d *Driver) walk(ctx context.Context, dir, prefix string, depth int, last bool, each func(key, path string) error) (found bool, err error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	entries, err := os.ReadDir(filepath.Join(d.dir, filepath.FromSlash(dir)))
	if err != nil {
		return false, err
	}
	found = dir == directory(prefix)
	for _, entry := range entries {
		key := dir + entry.Name()
		if strings.HasPrefix(entry.Name(), ".") || !strings.HasPrefix(key, prefix) && !strings.HasPrefix(prefix, key+"/") {
			continue
		}
		path := filepath.Join(d.dir, filepath.FromSlash(key))
		info, err := os.Stat(path) // which follows links, as a ConfigMap's files are
		switch {
		case vanished(err):
			if last && entry.Type()&fs.ModeSymlink != 0 {
				continue
			}
			err = errVanished
		case err == nil && info.IsDir():
			if depth < maxDepth {
				var below bool
				below, err = d.walk(ctx, key+"/", prefix, depth+1, last, each)
				found = found || below
			}
			if vanished(err) {
				err = errVanished
			}
		case strings.HasPrefix(key, prefix):
			err = each(key, path)
		}
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// revision tells versions of a file apart.
func revision(path string, e driver.Entry) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(e.Value)
	if info, err := os.Stat(path); err == nil {
		fmt.Fprint(h, info.ModTime().UnixNano())
	}
	if e.Err != nil {
		fmt.Fprint(h, e.Err)
	}
	return h.Sum64() | 1
}

// Put implements driver.Store.
func (d *Driver) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	path, err := d.path(ctx, key)
	if err == nil {
		err = diskfile.Replace(path, value)
	}
	if err != nil {
		return 0, fmt.Errorf("put %s: %w", key, err)
	}
	return revision(path, driver.Entry{Value: value}), nil
}

// Delete implements driver.Store.
func (d *Driver) Delete(ctx context.Context, key string) (bool, error) {
	path, err := d.path(ctx, key)
	if err == nil {
		err = os.Remove(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("delete %s: %w", key, err)
	}
	return true, nil
}

func (d *Driver) path(ctx context.Context, key string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	local, err := filepath.Localize(key)
	if err != nil || key == "." {
		return "", errKey
	}
	return filepath.Join(d.dir, local), nil
}

// Watch implements driver.Store.
func (d *Driver) Watch(ctx context.Context, prefix string, after uint64) (driver.Watcher, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return &watcher{d: d, prefix: prefix, after: after, done: make(chan struct{})}, nil
}

type watcher struct {
	d      *Driver
	prefix string
	after  uint64
	once   sync.Once
	done   chan struct{}
}

// Next implements driver.Watcher.
func (w *watcher) Next(ctx context.Context) (driver.Update, error) {
	tick := time.NewTicker(w.d.every)
	defer tick.Stop()
	for {
		select {
		case <-w.done:
			return driver.Update{}, fmt.Errorf("watch %s: %w", w.prefix, errClosed)
		case <-w.d.done:
			return driver.Update{}, fmt.Errorf("watch %s: %w", w.prefix, errClosed)
		default:
		}
		l, err := w.d.List(ctx, w.prefix)
		if err != nil {
			return driver.Update{}, err
		}
		if l.Revision != w.after {
			w.after = l.Revision
			return driver.Update{Full: &l}, nil
		}
		select {
		case <-ctx.Done():
			return driver.Update{}, ctx.Err()
		case <-w.done:
		case <-w.d.done:
		case <-tick.C:
		}
	}
}

// Close implements driver.Watcher.
func (w *watcher) Close() error {
	w.once.Do(func() { close(w.done) })
	return nil
}
