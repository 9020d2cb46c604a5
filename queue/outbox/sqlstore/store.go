// Package sqlstore is an outbox in a database: PostgreSQL or SQLite, through database/sql.
//
//	store, err := sqlstore.New(db, sqlstore.PostgreSQL, sqlstore.Config{Source: "orders"})
//	err = store.Migrate(ctx)
//	relay := outbox.New(store, q, outbox.Config{})         // run it: lifecycle.Run(ctx, relay, …)
//	…
//	tx, err := db.BeginTx(ctx, nil)
//	_, err = tx.ExecContext(ctx, "INSERT INTO orders …")
//	err = store.Add(ctx, tx, "orders.placed", placed, queue.Key(placed.Order))
//	err = tx.Commit()
//
// # Order
//
// Events have a number that the database gives out when they are added, not when their transaction is committed. What
// comes of that elsewhere (a reader that remembers the last number it saw misses what is committed late; two transactions
// of one key are published the wrong way round) cannot happen here: the relay remembers no number but reads what is there, and
// transactions that add events of one key take their numbers one after the other, each after the one before it
// has ended.
//
// # What it costs
//
// Adding is one statement. Publishing costs the relay a read and a delete for each batch. While the relay is busy nobody is notified;
// see Store.Wait.
package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/sqldb"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/outbox"
)

// Dialect is a kind of database.
type Dialect = sqldb.Dialect

// The dialects. Which driver the *sql.DB has does not matter, except that PostgreSQL wakes the relay only if it is pgx's;
// pgx and modernc.org/sqlite are tested.
const (
	PostgreSQL = sqldb.PostgreSQL
	SQLite     = sqldb.SQLite
)

// The defaults of a Config.
const (
	DefaultPrefix     = "holdfast_"
	DefaultMaxMessage = 896 << 10
	DefaultPoll       = 500 * time.Millisecond
	DefaultLease      = 5 * time.Second
)

//go:embed migrations
var migrations embed.FS

// Config tunes a Store. The zero value works.
type Config struct {
	// Prefix is what the names of the tables begin with: lower-case letters, digits and '_', after "schema." if need be. Each
	// prefix is an outbox of its own. "": "holdfast_".
	Prefix string
	// Source is the CloudEvents source of what is added: as queue.Config.Source. "": "holdfast".
	Source string
	// MaxMessage is the most bytes of data of an event, which is refused by Add if it has more: the engine would never take it,
	// and it would hold up its key. 0: 896 KiB, which every engine takes as it comes; Capabilities.MaxMessage is the engine's.
	MaxMessage int
	// Keep is how long events are kept, in a table beside, after they were published. 0: not at all.
	Keep time.Duration
	// Poll is how often the relay looks for events while nothing tells it of any. 0: 500 ms.
	Poll time.Duration
	// NoListen makes the relay find events by looking alone: no LISTEN and no NOTIFY, and no connection for it.
	NoListen bool
	// NoKeyLock lets transactions that add events with the same key go on side by side. Their events keep their order only as far
	// as the program's own locks keep it.
	NoKeyLock bool
	// Lease is how long a relay that leads by the database leads without renewing it. 0: 5 s; at least 1 s. It should be about the
	// same for all relays of an outbox: what ends later than in ten of them, and a minute, is taken for a lease of a clock that
	// went back since.
	Lease time.Duration
	// Propagator carries what belongs to ctx's request along with events. nil: queue.TraceContext.
	Propagator queue.Propagator
	// Logger is told of what does not work and is done without. Default: discards.
	Logger *slog.Logger
}

func (c Config) defaults() Config {
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.Source == "" {
		c.Source = "holdfast"
	}
	if c.MaxMessage <= 0 {
		c.MaxMessage = DefaultMaxMessage
	}
	c.Keep = max(c.Keep, 0)
	if c.Poll <= 0 {
		c.Poll = DefaultPoll
	}
	if c.Lease <= 0 {
		c.Lease = DefaultLease
	}
	c.Lease = max(c.Lease, time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Store is an outbox in a database. It implements outbox.Store, Marker, Leader, Counter and Cleaner. Safe for concurrent use.
type Store struct {
	db      *sql.DB
	dialect Dialect
	cfg     Config
	sql     statements
	channel string

	added atomic.Int64 // when Add was called last, in this process, by the clock's nanoseconds

	mu    sync.Mutex
	idle  int  // times that Wait was over since Pending found something
	told  told // what the database was told last, as far as is known
	found int  // events, and wake-ups, since it was told

	listening listening // of Wait's goroutine
}

var (
	_ outbox.Store   = (*Store)(nil)
	_ outbox.Marker  = (*Store)(nil)
	_ outbox.Leader  = (*Store)(nil)
	_ outbox.Counter = (*Store)(nil)
	_ outbox.Cleaner = (*Store)(nil)
)

// New returns a Store on a database, which the caller keeps. It makes no call. The error is INVALID_ARGUMENT.
func New(db *sql.DB, d Dialect, cfg Config) (*Store, error) {
	cfg = cfg.defaults()
	if _, err := load(d, cfg.Prefix); err != nil {
		return nil, failure.Wrap(err, failure.InvalidArgument, "sqlstore: %v", err)
	}
	s := &Store{db: db, dialect: d, cfg: cfg, channel: cfg.Prefix + "outbox"}
	if d == PostgreSQL {
		s.sql = postgres(cfg.Prefix, s.channel, cfg.Keep > 0, !cfg.NoListen)
	} else {
		s.sql = sqlite(cfg.Prefix)
	}
	return s, nil
}

func load(d Dialect, prefix string) ([]sqldb.Migration, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return sqldb.Load(files, d, prefix)
}

// Migrate makes the tables, or brings them up to date. Any number of instances may do so at once. A schema that is newer, of
// a later version of the program, is left alone.
func (s *Store) Migrate(ctx context.Context) error {
	m, err := load(s.dialect, s.cfg.Prefix)
	if err != nil {
		return err
	}
	return sqldb.Migrate(ctx, s.db, s.dialect, s.cfg.Prefix+"outbox_schema", m)
}

// Schema returns what Migrate makes of an empty database, as SQL, for those who make their tables by themselves. prefix is
// as in Config. The relay of such a database needs SELECT, INSERT, UPDATE and DELETE on the tables, those who add events
// INSERT on PREFIXoutbox and SELECT on PREFIXoutbox_relay.
func Schema(d Dialect, prefix string) (string, error) {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	m, err := load(d, prefix)
	if err != nil {
		return "", failure.Wrap(err, failure.InvalidArgument, "sqlstore: %v", err)
	}
	return sqldb.Script(d, prefix+"outbox_schema", m), nil
}

// failed is an error of the database.
func (s *Store) failed(ctx context.Context, what string, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, ctx.Err())
	case sqldb.Missing(err):
		return failure.Wrap(err, failure.FailedPrecondition, "%s: the tables of the outbox are not there: see sqlstore.Store.Migrate", what)
	case sqldb.Busy(err):
		return failure.Wrap(err, failure.Aborted, "%s: others were in the way", what)
	}
	return failure.Wrap(err, failure.Unavailable, "%s: the database does not do it", what)
}
