package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// relistEvery bounds how long a watch that hangs without a word can go unnoticed.
	relistEvery = 10 * time.Second
	// saveEvery bounds how often the copy on disk is written.
	saveEvery = time.Second
	// maxCopy bounds a copy that is read: it may have been written by anybody.
	maxCopy = 64 << 20
)

// View is the values below one prefix, kept up to date in memory by a watch, with a copy on disk. It answers at once
// and always: while the store is away with what it knew last, after a start without the store with what was on disk.
// What it answers may therefore be old; whatever must not be is read from the store itself.
type View[T any] struct {
	kv     KV
	prefix string
	file   string
	log    *slog.Logger
	dirty  chan struct{} // holds a token while memory is ahead of the disk

	mu       sync.RWMutex
	values   map[string]T
	raw      map[string]json.RawMessage
	revision int64 // the highest since the store has had all that is known
	keeps    bool  // what the store has lost
}

// OpenView returns a view of the values below prefix, with what file holds from another time. A file that is missing
// is no error, one that is broken is reported and ignored. An empty file name means no copy. Nothing is read from
// kv before Run.
func OpenView[T any](kv KV, prefix, file string, log *slog.Logger) *View[T] {
	v := &View[T]{
		kv: kv, prefix: prefix, file: file, log: log.With("view", prefix),
		dirty:  make(chan struct{}, 1),
		values: make(map[string]T), raw: make(map[string]json.RawMessage),
	}
	if err := v.load(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.log.Warn("starting without the copy on disk", "error", err)
	}
	return v
}

// Get returns the value at prefix+name, if the view knows one. The value is shared: it must not be changed.
func (v *View[T]) Get(name string) (T, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	value, ok := v.values[name]
	return value, ok
}

// All returns a copy of all values, by name.
func (v *View[T]) All() map[string]T {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return maps.Clone(v.values)
}

// Run keeps the view up to date until ctx ends, whatever happens to the store. It returns nil.
func (v *View[T]) Run(ctx context.Context) error {
	var saver sync.WaitGroup
	saver.Go(func() { v.saveLoop(ctx) })
	defer saver.Wait()
	const minPause, maxPause = 100 * time.Millisecond, 2 * time.Second
	pause := minPause
	for away := false; ctx.Err() == nil; {
		err := v.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			if away {
				v.log.Info("the store is back")
			}
			away, pause = false, minPause
			continue // it is time to list again
		case !away:
			v.log.Warn("answering from memory, the store is away", "error", err)
			away = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(pause) + pause/2):
		}
		pause = min(2*pause, maxPause)
	}
	return nil
}

// follow lists, then watches for a while. It returns nil if both went well.
func (v *View[T]) follow(ctx context.Context) error {
	page, err := v.kv.List(ctx, Range{Prefix: v.prefix})
	if err != nil {
		return err
	}
	v.replace(page)
	// Spread over ±20 %, so that many instances do not list at once.
	ctx, cancel := context.WithTimeout(ctx, relistEvery*4/5+rand.N(relistEvery*2/5))
	defer cancel()
	err = v.kv.Watch(ctx, v.prefix, page.Revision, v.apply)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// replace takes a complete list over. A store whose revision went back has lost what it had, and what it lacks is not
// taken away by that: it stays, as the copy on disk, until it is put again, seen to be removed, or the store, counting on, gets to
// where it was without it.
func (v *View[T]) replace(page Page) {
	v.mu.Lock()
	defer v.mu.Unlock()
	listed := make(map[string]bool, len(page.Entries))
	for _, e := range page.Entries {
		listed[strings.TrimPrefix(e.Key, v.prefix)] = true
		v.set(e)
	}
	back, kept := page.Revision < v.revision, 0
	for name := range v.values {
		switch {
		case listed[name]:
		case back:
			kept++
		default:
			delete(v.values, name)
			delete(v.raw, name)
		}
	}
	if kept == 0 {
		v.revision = page.Revision
	} else if !v.keeps {
		v.log.Warn("the store has lost what it had, it stays here until it is put again or removed",
			"values", kept, "revision", page.Revision, "before", v.revision)
	}
	v.keeps = kept > 0
	v.changed()
}

func (v *View[T]) apply(changes []Entry) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range changes {
		v.set(e)
		v.revision = max(v.revision, e.Revision)
	}
	v.changed()
}

// set takes one entry over. An unreadable one leaves the value before it in place: one bad record must not take
// the rest away.
func (v *View[T]) set(e Entry) {
	name := strings.TrimPrefix(e.Key, v.prefix)
	if !e.Exists() {
		delete(v.values, name)
		delete(v.raw, name)
		return
	}
	var value T
	if err := json.Unmarshal(e.Value, &value); err != nil {
		v.log.Error("unreadable record skipped", "key", e.Key, "error", err)
		return
	}
	v.values[name], v.raw[name] = value, e.Value
}

func (v *View[T]) changed() {
	select {
	case v.dirty <- struct{}{}:
	default:
	}
}

// diskCopy is the file's format.
type diskCopy struct {
	Prefix   string                     `json:"prefix"`
	Revision int64                      `json:"revision"`
	Values   map[string]json.RawMessage `json:"values"`
}

func (v *View[T]) load() error {
	if v.file == "" {
		return nil
	}
	info, err := os.Stat(v.file)
	if err != nil {
		return err
	}
	if info.Size() > maxCopy {
		return fmt.Errorf("%s: %d bytes is too large for a copy", v.file, info.Size())
	}
	b, err := os.ReadFile(v.file)
	if err != nil {
		return err
	}
	return v.decode(b)
}

// decode takes a copy over, all of it or nothing.
func (v *View[T]) decode(b []byte) error {
	var c diskCopy
	if err := json.Unmarshal(b, &c); err != nil {
		return fmt.Errorf("copy on disk: %w", err)
	}
	if c.Prefix != v.prefix {
		return fmt.Errorf("copy on disk: is of %q", c.Prefix)
	}
	values, raw := make(map[string]T, len(c.Values)), make(map[string]json.RawMessage, len(c.Values))
	for name, b := range c.Values {
		var value T
		if err := json.Unmarshal(b, &value); err != nil {
			return fmt.Errorf("copy on disk: %s: %w", name, err)
		}
		values[name], raw[name] = value, b
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.values, v.raw, v.revision = values, raw, c.Revision
	return nil
}

func (v *View[T]) saveLoop(ctx context.Context) {
	if v.file == "" {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return // what is not saved comes from the store again
		case <-v.dirty:
		}
		if err := v.save(); err != nil {
			v.log.Warn("no copy on disk", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(saveEvery):
		}
	}
}

// save replaces the copy as a whole: whoever reads it, at whatever moment, reads an old one or the new one.
// Several instances may write the same file; each of their copies is as good as the other.
func (v *View[T]) save() error {
	v.mu.RLock()
	b, err := json.Marshal(diskCopy{v.prefix, v.revision, v.raw})
	v.mu.RUnlock()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(v.file), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(v.file), filepath.Base(v.file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // gone already if all went well
	_, err = tmp.Write(b)
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), v.file)
}

// CopyIn names the file for the copy of a service's view below dir, or none if there is no directory for data.
func CopyIn(dir, service string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "shop", service+".json")
}
