// Package driver is what a store of settings implements so that package config can run on it.
//
// The interface is primitive on purpose: list, watch, put, delete. Every loop, back-off, deadline, copy on disk and
// judgement is in package config, is written once and is the same on every store. A driver that passes configtest.Run
// is complete.
//
// Users of Holdfast do not need this package.
package driver

import (
	"context"
	"errors"
	"net"
)

// Bounds that package config checks before a driver is asked. Every store takes what is within them.
const (
	// MaxKey is the longest key, in bytes, and MaxElement the longest of its elements.
	MaxKey     = 256
	MaxElement = 200
	// MaxValue is the largest value, in bytes. Consul takes 512 KiB, etcd 1.5 MiB.
	MaxValue = 256 << 10
)

// ErrReadOnly is returned by Put and Delete of a store that is changed by other means.
var ErrReadOnly = errors.New("this store of settings is read-only")

// Entry is one setting.
type Entry struct {
	// Key is a path without a leading slash, relative to the driver's own prefix: elements of letters, digits, '-', '_'
	// and '.', none of them "." or "..", separated by '/'.
	Key string
	// Value is the bytes as they were put. It may be empty, which is not the same as missing.
	Value []byte
	// Revision is another one after each change of this key, of the engine's own making; it tells people and logs which
	// version is meant, and nothing is computed from it. It is never 0.
	Revision uint64
	// Err, if not nil, says why the value cannot be read although the key is there. Package config then keeps the value
	// that it has, so one such entry is no error of List.
	Err error
}

// Store is one engine. All methods are safe for concurrent use, honour ctx promptly even when the engine is dead or
// frozen, and retry nothing beyond trying another member of the same engine.
type Store interface {
	// List returns every entry whose key begins with prefix, from a source that is not older than the call. Nothing is
	// an empty Listing, no error. The values are the caller's.
	List(ctx context.Context, prefix string) (Listing, error)

	// Watch opens a watch of that prefix for the changes that came after a Listing's revision. Only the opening is
	// bounded by ctx.
	Watch(ctx context.Context, prefix string, after uint64) (Watcher, error)

	// Put writes a value and returns the entry's new revision, once the store has it for good. An error may be one of
	// the answer only: the value may have been written. A store that cannot be written returns ErrReadOnly.
	Put(ctx context.Context, key string, value []byte) (revision uint64, err error)

	// Delete removes a key and reports whether it was there. What is said of Put's error holds.
	Delete(ctx context.Context, key string) (found bool, err error)

	// Close frees what the driver holds. Open watches end with an error. Close is idempotent.
	Close() error
}

// Identified is implemented by a Store that can say which engine it is on, so that what was kept of one engine is not taken
// for what another one has. One that does not is told apart by its type alone.
type Identified interface {
	// Identity names the engine, and what of it the Store shows: the same after a restart, another one for every other.
	// It is written to disk and must have no secret in it.
	Identity() string
}

// Opener opens a Store by a URL, for programs whose engine is a setting.
type Opener interface {
	// Scheme is that of the URLs it opens, such as "consul".
	Scheme() string
	// CheckURL says what is wrong with a URL of that scheme. It does no I/O.
	CheckURL(url string) error
	// OpenStore opens what the URL names. It connects to nothing, so that it works while the engine is dead.
	OpenStore(url string, options OpenOptions) (Store, error)
}

// OpenOptions are what is said beside the URL.
type OpenOptions struct {
	// Insecure allows plaintext beyond loopback.
	Insecure bool
	// WrapDial returns how connections are made instead of by next: what the Opener itself was given for that, or nil, which is
	// net.Dialer.DialContext. Nothing is changed if it is nil.
	WrapDial func(next func(ctx context.Context, network, address string) (net.Conn, error)) func(ctx context.Context, network, address string) (net.Conn, error)
}

// Listing is everything a store has below a prefix at one moment.
type Listing struct {
	// Entries are in no order, each key once.
	Entries []Entry
	// Revision is where a watch has to start to miss nothing. It never becomes less, unless the engine has lost what it
	// had: package config then keeps what it has until that is confirmed.
	Revision uint64
}

// Watcher delivers changes. Next is called by one goroutine at a time; Close may be called at any time.
type Watcher interface {
	// Next blocks until there are changes or ctx ends. After an error other than ctx's own the watch is over, and
	// the caller lists again: history compacted, connection lost, engine restarted, no leader are all just errors.
	// An Update may be one without a difference.
	Next(ctx context.Context) (Update, error)
	Close() error
}

// Update is what a watch reports.
type Update struct {
	// Full, when not nil, replaces everything known (for stores whose watches return the whole list).
	Full *Listing
	// Changes are otherwise applied in order.
	Changes []Change
}

// Change is one changed key.
type Change struct {
	Key string
	// Entry is the new content; nil means that the key was removed.
	Entry *Entry
}
