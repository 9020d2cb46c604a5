// Package driver is what a registry engine implements so that package registry can run on it.
//
// The interface is primitive on purpose: write a record under a lease, renew it once, list, watch. Every loop,
// back-off, deadline, cache and judgement is in package registry, is written once and is the same on every engine.
// A driver that passes registrytest.Run is complete.
//
// Users of Holdfast do not need this package.
package driver

import (
	"context"
	"errors"
	"time"
)

// ErrLost is reported by a Registration whose record is not held any more: its lease has expired or was revoked,
// or the record was deleted. The record has to be registered again.
var ErrLost = errors.New("registration lost")

// ErrTaken is reported when the record belongs to another owner: another process announces itself by the same
// service and ID.
var ErrTaken = errors.New("record belongs to another owner")

// Instance is one running copy of a service, as consumers see it. It is documented as registry.Instance.
type Instance struct {
	// Service is the name that consumers ask for: letters, digits, '-', '_' and '.', at most 128 bytes.
	Service string
	// ID tells the instances of one service apart. It is chosen by the instance and may be used again after a
	// restart. No '/', no control characters, at most 256 bytes.
	ID string
	// Endpoints maps a protocol ("grpc", "http") to the host:port it is spoken at.
	Endpoints map[string]string
	// Zone and Version are free text for balancing and for people.
	Zone, Version string
	// Weight is the share of load the instance wants relative to the others; 0 means 1.
	Weight int
	// Draining says that the instance is about to leave: no new work should be sent to it.
	Draining bool
	// Metadata is the service's own; other clients of the engine see it too.
	Metadata map[string]string
}

// Record is an Instance together with who wrote it.
type Record struct {
	Instance
	// Owner is random per announcement. It is how an engine tells a record that is ours from one that another
	// process wrote under the same ID. Empty in records that were not written by Holdfast.
	Owner string
}

// Registry is one engine. All methods are safe for concurrent use, honour ctx promptly even when the engine is dead
// or frozen, and retry nothing beyond trying another member of the same engine.
type Registry interface {
	// Register writes rec under a new lease of ttl, or of the shortest longer one the engine has. When the engine
	// holds a record of the same service and ID by another owner, it is replaced if takeOver is set, and ErrTaken
	// is returned otherwise. A record of the same owner is always replaced. The end of an older lease never
	// removes a newer record.
	Register(ctx context.Context, rec Record, ttl time.Duration, takeOver bool) (Registration, error)

	// List returns all records of service, from a source that is not older than the call. A service that nobody
	// registered is an empty Listing, no error. A record that cannot be decoded is in Listing.Unreadable and does
	// not fail the call.
	List(ctx context.Context, service string) (Listing, error)

	// Watch opens a watch for the changes that came after a Listing's revision. Only the opening is bounded by ctx.
	Watch(ctx context.Context, service string, after uint64) (Watcher, error)

	// Close frees what the driver holds. Open watches end with an error. Close is idempotent.
	Close() error
}

// Registration is a record that was written. The methods are called by one goroutine at a time.
type Registration interface {
	// Renew extends the lease once and checks that the record is still there and ours. It returns an error that
	// is ErrLost when the lease or the record is gone, ErrTaken when another owner has replaced it, and any other
	// error when the engine did not answer.
	Renew(ctx context.Context) error

	// Update replaces the record, keeping its lease. Errors are those of Renew.
	Update(ctx context.Context, rec Record) error

	// Deregister removes the record if it is still ours and ends the lease. A record that is gone or that another
	// owner replaced is no error and is left alone.
	Deregister(ctx context.Context) error
}

// Listing is everything an engine knows of one service at one moment.
type Listing struct {
	Records []Record
	// Unreadable are the records that could not be decoded.
	Unreadable []Unreadable
	// Revision is where a watch has to start to miss nothing. It means something to its driver only.
	Revision uint64
}

// Unreadable names a record that is there and cannot be decoded.
type Unreadable struct {
	ID  string
	Err error
}

// Watcher delivers changes. Next is called by one goroutine at a time; Close may be called at any time.
type Watcher interface {
	// Next blocks until there are changes or ctx ends. After an error other than ctx's own the watch is over, and
	// the caller lists again: history compacted, connection lost, engine restarted, no leader are all just errors.
	Next(ctx context.Context) (Update, error)
	Close() error
}

// Update is what a watch reports.
type Update struct {
	// Full, when not nil, replaces everything known (for engines whose watches return the whole list).
	Full *Listing
	// Changes are otherwise applied in order.
	Changes []Change
}

// Change is one changed record.
type Change struct {
	ID string
	// Record is the new content; nil means that the record was removed, or, with Err, that it cannot be decoded.
	Record *Record
	// Err says why the new content cannot be decoded.
	Err error
}
