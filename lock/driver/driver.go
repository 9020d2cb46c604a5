// Package driver is what an engine implements so that package lock can run on it.
//
// The interface is primitive on purpose: a session that lives as long as it is renewed, tickets in queues under it, and
// a claim by whoever is first. Every loop, back-off, deadline and judgement is in package lock, is written once and is
// the same on every engine. A driver that passes locktest.Run is complete.
//
// Users of Holdfast do not need this package.
package driver

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrLost is reported when the session has ended at the engine: it expired, was ended by somebody, or the engine has
	// forgotten it. All its tickets are gone, or are about to go.
	ErrLost = errors.New("session lost")
	// ErrGone is reported when a ticket is not in its queue while its session may live: somebody removed it.
	ErrGone = errors.New("ticket gone")
	// ErrNotFirst is reported by a claim of a ticket that others are before.
	ErrNotFirst = errors.New("others are before it")
	// ErrUnsettled is reported by a claim while the engine's epoch is not settled.
	ErrUnsettled = errors.New("epoch not settled")
	// ErrDelayed is reported by a claim that the engine refuses for a while, as Consul's lock-delay does.
	ErrDelayed = errors.New("engine delays claims")
	// ErrUnusable is reported by an engine that will never work, whatever is tried.
	ErrUnusable = errors.New("engine cannot be used")
)

// Engine is where locks are kept. All methods are safe for concurrent use, honour ctx promptly even when the engine is
// dead or frozen, and retry nothing beyond trying another member of the same engine.
type Engine interface {
	// Open opens a session that the engine ends no sooner than ttl after it received the last Renew (or Open). The engine
	// may have a longer shortest one, or a shorter longest one. holder is free text, for people.
	Open(ctx context.Context, ttl time.Duration, holder string) (Session, error)

	// Holder returns who holds the lock of that name now, from a source that is not older than the call, and a revision
	// for Await. Token is 0 when nobody does.
	Holder(ctx context.Context, name string) (h Holder, revision uint64, err error)

	// Await blocks until the holder of that name may be another one than at revision, or ctx ends; the caller then asks
	// Holder. It may return early. Lost connections, a history that is compacted, a restart are all just errors.
	Await(ctx context.Context, name string, revision uint64) error

	// Epoch returns the engine's memory, and begins one if it has none: an engine without one is new, or has lost what it
	// knew. Only one of many callers at once begins one.
	Epoch(ctx context.Context) (Epoch, error)

	// Settle says that whoever held a lock when the epoch of that ID began holds it no more. It is without effect if the
	// engine has another epoch.
	Settle(ctx context.Context, id string) error

	// Close frees what the driver holds. It ends no session. It is idempotent.
	Close() error
}

// Epoch is the time since an engine last lost its memory.
type Epoch struct {
	// ID is random.
	ID string
	// Settled says that claims are granted.
	Settled bool
}

// Holder is who holds a lock.
type Holder struct {
	// Name is the free text given to Open, Value what was given to Enter.
	Name, Value string
	// Token is the one that was given with the claim.
	Token uint64
}

// Session is a place to hold tickets. Safe for concurrent use.
type Session interface {
	// ID names the session to people, as the engine does.
	ID() string

	// TTL is what was granted: at least what Open was asked for, or the longest that the engine has.
	TTL() time.Duration

	// Renew extends the session once, by TTL. It is called by one goroutine at a time.
	Renew(ctx context.Context) error

	// Enter puts a ticket at the end of the queue of name, and does nothing if it is in there. The ticket is unique for
	// ever. It is removed when the session ends. After a Leave that returned nil, an Enter of the same ticket that is
	// still under way somewhere has no effect any more.
	Enter(ctx context.Context, name, ticket, value string) error

	// Wait blocks until the ticket is first in its queue, or ctx ends. It wakes for what becomes of the ticket's
	// predecessor only, however many wait. ErrGone says that the ticket is not in the queue. After any other error the
	// caller asks again. It may return nil early.
	Wait(ctx context.Context, name, ticket string) error

	// Claim makes the ticket, if it is in its queue and first, the holder, in one step with the token that it gets: at
	// least floor, and larger than any that the engine remembers of the lock. A ticket that is the holder gets another
	// token. Errors are ErrGone, ErrNotFirst, ErrUnsettled, ErrDelayed, ErrLost, or others, after which it is unknown.
	Claim(ctx context.Context, name, ticket string, floor uint64) (token uint64, err error)

	// Leave removes the ticket, and what was claimed by it. One that is gone is no error.
	Leave(ctx context.Context, name, ticket string) error

	// End ends the session and removes its tickets. A session that is gone is no error.
	End(ctx context.Context) error
}
