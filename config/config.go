// Package config keeps settings that can be changed while processes run, and keeps them in force while the engine
// behind them (etcd, Consul, a directory) is slow, frozen, restarted, wiped or gone.
//
// A setting is a document under a key. Processes follow the keys below a prefix with [Follow], which decodes and
// validates each document before it is applied: one that is wrong is refused with a reason, and the last good one stays.
// People and tools write with [Store.Put]. No error of the engine changes what is in force. DESIGN.md in this folder has
// the states and the failure table.
package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/config/driver"
)

// ErrClosed is returned by a Watch that was stopped or whose Store was closed.
var ErrClosed = errors.New("settings closed")

// ErrReadOnly is returned by Put and Delete where the engine's content is changed by other means.
var ErrReadOnly = driver.ErrReadOnly

// Entry is one setting as it is stored.
type Entry = driver.Entry

// Config is the part of a Store that has defaults. The zero value works.
type Config struct {
	// RelistEvery is how often a watch lists everything again although nothing seems to have changed, ±20 %; default
	// 30 s. It is the bound on how long a watch that hangs silently can be wrong.
	RelistEvery time.Duration

	// CallTimeout bounds every call to the engine; default 3 s. Shorter than the engine's own failover (etcd elects
	// within about 1 s) turns a failover into an outage.
	CallTimeout time.Duration

	// KeepFor is how long settings stay in force that were gone, most of them at once, when the engine answered again;
	// default 10 min. Time in which the engine does not answer does not count. Shorter, an engine that was wiped takes
	// all settings along; longer, settings that were removed meanwhile live on.
	KeepFor time.Duration

	// CacheDir is where the last good settings of each engine are kept for a cold start without it. It is created when
	// missing and may be shared by processes. Empty means no disk copy.
	CacheDir string

	// Logger gets what this package survives, and each setting that is applied or refused; default slog.Default().
	Logger *slog.Logger
}

// Validate reports every field that cannot work.
func (c Config) Validate() error {
	var errs []error
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"RelistEvery", c.RelistEvery}, {"CallTimeout", c.CallTimeout}, {"KeepFor", c.KeepFor}} {
		if d.v < 0 {
			errs = append(errs, fmt.Errorf("config %s: negative", d.name))
		}
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.RelistEvery, 30*time.Second)
	def(&c.CallTimeout, 3*time.Second)
	def(&c.KeepFor, 10*time.Minute)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Store is the settings on one engine. Safe for concurrent use.
type Store struct {
	driver driver.Store
	cfg    Config

	ctx    context.Context // ends with Close; the parent of every watch's loop
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	loops  sync.WaitGroup
}

// New returns a Store on d. It makes no call and cannot fail; fields of cfg that Validate rejects get their default. The
// caller keeps d and closes it after the Store.
func New(d driver.Store, cfg Config) *Store {
	s := &Store{driver: d, cfg: cfg.withDefaults()}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close stops all watches and joins their goroutines. It does not close the driver. It is idempotent and returns nil.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.loops.Wait()
	return nil
}

// spawn runs f in a goroutine that Close joins, unless Close has begun.
func (s *Store) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.loops.Go(f)
	return true
}

// Get returns a setting as it is stored now; found is false, without an error, if there is none.
func (s *Store) Get(ctx context.Context, key string) (e Entry, found bool, err error) {
	if err := ValidateKey(key); err != nil {
		return Entry{}, false, fmt.Errorf("get: %w", err)
	}
	entries, err := s.List(ctx, key)
	for _, e := range entries {
		if e.Key == key {
			return e, true, nil
		}
	}
	return Entry{}, false, err
}

// List returns the settings whose keys begin with prefix, as they are stored now, in no order.
func (s *Store) List(ctx context.Context, prefix string) ([]Entry, error) {
	if err := ValidatePrefix(prefix); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	l, err := s.driver.List(ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("list settings: %w", err)
	}
	return l.Entries, nil
}

// Put writes a setting for all who follow it and returns its new revision. It does not validate the content; what
// follows it does, and so should whoever puts. An error may be one of the answer only: the value may have been written.
func (s *Store) Put(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	if err := ValidateKey(key); err != nil {
		return 0, fmt.Errorf("put: %w", err)
	}
	if len(value) > driver.MaxValue {
		return 0, fmt.Errorf("put %s: %d bytes are more than %d", key, len(value), driver.MaxValue)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	if revision, err = s.driver.Put(ctx, key, value); err != nil {
		return 0, fmt.Errorf("put %s: %w", key, err)
	}
	return revision, nil
}

// Delete removes a setting and reports whether it was there. What is said of Put's error holds.
func (s *Store) Delete(ctx context.Context, key string) (found bool, err error) {
	if err := ValidateKey(key); err != nil {
		return false, fmt.Errorf("delete: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	if found, err = s.driver.Delete(ctx, key); err != nil {
		return false, fmt.Errorf("delete %s: %w", key, err)
	}
	return found, nil
}

// ValidateKey says what is wrong with a key: it is 1 to 256 bytes of elements separated by '/', each of 1 to 200 letters,
// digits, '-', '_' and '.', the first no '.'.
func ValidateKey(key string) error {
	if key == "" {
		return errors.New("key: empty")
	}
	for element := range strings.SplitSeq(key, "/") {
		if element == "" || element[0] == '.' || len(element) > driver.MaxElement {
			return fmt.Errorf("key %.80q: an element is empty, begins with a dot or is longer than %d bytes", key, driver.MaxElement)
		}
	}
	return ValidatePrefix(key)
}

// ValidatePrefix says what is wrong with the beginning of keys: as ValidateKey, but it may be empty, and end anywhere.
func ValidatePrefix(prefix string) error {
	if len(prefix) > driver.MaxKey {
		return fmt.Errorf("key %.80q…: longer than %d bytes", prefix, driver.MaxKey)
	}
	for i := range len(prefix) {
		switch c := prefix[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_./", c) >= 0:
		default:
			return fmt.Errorf("key %.80q: %q is none of letters, digits, '-', '_', '.' and '/'", prefix, c)
		}
	}
	if strings.HasPrefix(prefix, "/") || strings.Contains(prefix, "//") || strings.HasPrefix(prefix, ".") || strings.Contains(prefix, "/.") {
		return fmt.Errorf("key %.80q: an element is empty or begins with a dot", prefix)
	}
	return nil
}
