// Package sqlinbox is an inbox in the database that handlers write to: the effect of a message and the mark that it was
// handled are one transaction, so that it has its effect exactly once, whatever dies and however often it is delivered.
//
//	in, err := sqlinbox.New(db, sqlinbox.PostgreSQL, sqlinbox.Config{})
//	err = in.Migrate(ctx)
//	svc.Go("inbox", in.Run) // removes old marks; without it the table grows for ever
//	sub, err := queue.NewSubscription(q, "orders.paid", "shipping", queue.Handle(
//		func(ctx context.Context, m queue.Message[Paid]) error {
//			tx, _ := sqlinbox.Tx(ctx)
//			_, err := tx.ExecContext(ctx, "INSERT INTO shipments …")
//			return err
//		}), queue.SubscriptionConfig{Inbox: in})
//
// What the handler does through Tx is undone when it returns an error, when its time ends, and when the process dies; what it
// does besides is not part of it. Events go out exactly as often when they are added to an outbox by the same
// transaction.
//
// Two instances that get the same message at once: one handles it, the other waits for up to Config.MaxWait without
// holding a connection, and then has the queue bring it later, as often as it takes (inbox.ErrUnderWay): that makes no dead
// letter. So does a database that has no room for another writer at the moment, such as SQLite with many handlers.
//
// Whoever handles a message has its lock as long as its transaction lasts. PostgreSQL ends the transaction of a process that died
// when its connection does, and that of one that is frozen, or cut off without a word, soon after its handler's time
// (queue.SubscriptionConfig.Timeout) is over; others handle the message then.
package sqlinbox

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/internal/sqldb"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/inbox"
)

// Dialect is a kind of database.
type Dialect = sqldb.Dialect

// The dialects. Which driver the *sql.DB has does not matter; pgx and modernc.org/sqlite are tested.
const (
	PostgreSQL = sqldb.PostgreSQL
	SQLite     = sqldb.SQLite
)

// The defaults of a Config.
const (
	DefaultPrefix     = "holdfast_"
	DefaultCleanEvery = time.Minute
)

const (
	cleanBatch = 500
	cleanPause = 50 * time.Millisecond
	// idleGrace is how long after its handler's time a transaction that does nothing is ended by PostgreSQL.
	idleGrace = 5 * time.Second
)

//go:embed migrations
var migrations embed.FS

// Config tunes an Inbox. The zero value works.
type Config struct {
	// Prefix is what the names of the tables begin with: lower-case letters, digits and '_', after "schema." if need be.
	// "": "holdfast_".
	Prefix string
	// Keep is how long a message that was handled is remembered. It should be longer than the queue keeps messages. 0: 7 days.
	Keep time.Duration
	// MaxWait is how long a message waits when another instance handles it. 0: 2 s, negative: not at all.
	MaxWait time.Duration
	// CleanEvery is how often Run removes marks that are older than Keep. 0: 1 minute.
	CleanEvery time.Duration
	// Isolation is that of the transactions. 0: the database's default.
	Isolation sql.IsolationLevel
	// Logger is told when Run cannot clean up. Default: discards.
	Logger *slog.Logger
}

// Inbox is a queue.Inbox. Safe for concurrent use.
type Inbox struct {
	db      *sql.DB
	dialect Dialect
	cfg     Config

	insert, find, clean string
}

var _ queue.Inbox = (*Inbox)(nil)

// New returns an Inbox on a database, which the caller keeps. It makes no call. The error is INVALID_ARGUMENT.
func New(db *sql.DB, d Dialect, cfg Config) (*Inbox, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	if cfg.Keep <= 0 {
		cfg.Keep = inbox.DefaultKeep
	}
	if cfg.MaxWait == 0 {
		cfg.MaxWait = inbox.DefaultMaxWait
	}
	if cfg.CleanEvery <= 0 {
		cfg.CleanEvery = DefaultCleanEvery
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if _, err := load(d, cfg.Prefix); err != nil {
		return nil, failure.Wrap(err, failure.InvalidArgument, "sqlinbox: %v", err)
	}
	i := &Inbox{db: db, dialect: d, cfg: cfg}
	table := cfg.Prefix + "inbox"
	switch d {
	case PostgreSQL:
		// Whoever has the lock is alone with the message; whoever has not does not wait in a transaction for it. The lock lives as
		// long as the transaction, and that of a process that is frozen must not live as long as its connection.
		i.insert = "INSERT INTO " + table + " (scope, id) SELECT $1, $2 WHERE pg_try_advisory_xact_lock($3)" + //nolint:gosec // a checked name
			" AND set_config('idle_in_transaction_session_timeout', coalesce($4::text, current_setting('idle_in_transaction_session_timeout')), true) <> ''" +
			" ON CONFLICT DO NOTHING"
		i.find = "SELECT count(*) FROM " + table + " WHERE scope = $1 AND id = $2"
		i.clean = "DELETE FROM " + table + " WHERE (scope, id) IN (SELECT scope, id FROM " + table + //nolint:gosec // a checked name
			" WHERE done < now() - make_interval(secs => $1) ORDER BY done LIMIT $2 FOR UPDATE SKIP LOCKED)"
	default:
		// Writes are one after the other here: whoever is told that there is a row is told of one that is committed.
		i.insert = "INSERT INTO " + table + " (scope, id, done) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING"
		i.clean = "DELETE FROM " + table + " WHERE (scope, id) IN (SELECT scope, id FROM " + table + " WHERE done < ?1 ORDER BY done LIMIT ?2)" //nolint:gosec // a checked name
	}
	return i, nil
}

func load(d Dialect, prefix string) ([]sqldb.Migration, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	return sqldb.Load(files, d, prefix)
}

// Migrate makes the tables, or brings them up to date. Any number of instances may do so at once.
func (i *Inbox) Migrate(ctx context.Context) error {
	m, err := load(i.dialect, i.cfg.Prefix)
	if err != nil {
		return err
	}
	return sqldb.Migrate(ctx, i.db, i.dialect, i.cfg.Prefix+"inbox_schema", m)
}

// Schema returns what Migrate makes of an empty database, as SQL, for those who make their tables by themselves. prefix is
// as in Config.
func Schema(d Dialect, prefix string) (string, error) {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	m, err := load(d, prefix)
	if err != nil {
		return "", failure.Wrap(err, failure.InvalidArgument, "sqlinbox: %v", err)
	}
	return sqldb.Script(d, prefix+"inbox_schema", m), nil
}

type txKey struct{}

// Tx returns the transaction of the message that ctx's handler handles, and whether there is one. The handler must not end
// it. It is that of the handler's goroutine: a transaction is not for several at a time.
func Tx(ctx context.Context) (*sql.Tx, bool) {
	tx, ok := ctx.Value(txKey{}).(*sql.Tx)
	return tx, ok
}

// Once implements queue.Inbox. The error is run's; inbox.ErrUnderWay when somebody else handles the message; UNAVAILABLE when the
// database does not do its part: what the handler did is undone, or, if it was the commit that was not answered, found
// done when the message comes again.
func (i *Inbox) Once(ctx context.Context, scope, id string, run func(ctx context.Context) error) error {
	end := time.Now().Add(i.cfg.MaxWait)
	pause := backoff.Backoff{Base: 20 * time.Millisecond, Max: 200 * time.Millisecond}
	for {
		done, err := i.try(ctx, scope, id, run)
		if done || !errors.Is(err, inbox.ErrUnderWay) {
			return err
		}
		if wait := 10*time.Millisecond + pause.Next(); time.Until(end) < wait || !backoff.Pause(ctx, wait) {
			return err
		}
	}
}

// try begins a transaction and, if the message can be had, handles it; done says that it was handled, here or before. The
// error is ErrUnderWay if nothing was done because somebody else is at it.
func (i *Inbox) try(ctx context.Context, scope, id string, run func(ctx context.Context) error) (done bool, err error) {
	tx, err := i.db.BeginTx(ctx, &sql.TxOptions{Isolation: i.cfg.Isolation})
	if err != nil {
		return false, i.failed(ctx, err)
	}
	defer tx.Rollback() //nolint:errcheck // nothing to do after a commit; else what it says is said already
	key := inbox.KeyOf(scope, id)
	scope, id = plain(scope), plain(id)
	args := []any{scope, id, time.Now().UnixMicro()}
	if i.dialect == PostgreSQL {
		args[2] = lockOf(key)
		args = append(args, idle(ctx))
	}
	res, err := tx.ExecContext(ctx, i.insert, args...)
	if err != nil {
		return false, i.failed(ctx, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return false, i.failed(ctx, err)
	}
	if n == 0 {
		if i.dialect == PostgreSQL {
			if err := tx.QueryRowContext(ctx, i.find, scope, id).Scan(&n); err != nil {
				return false, i.failed(ctx, err)
			}
			if n == 0 {
				return false, inbox.ErrUnderWay
			}
		}
		return true, nil
	}
	if err := run(context.WithValue(inbox.WithKey(ctx, key), txKey{}, tx)); err != nil {
		return true, err
	}
	switch err := tx.Commit(); {
	case errors.Is(err, sql.ErrTxDone) && ctx.Err() == nil:
		return true, failure.New(failure.Internal, "the handler has ended the transaction of its inbox")
	case err != nil && ctx.Err() != nil:
		return true, fmt.Errorf("commit: %w", ctx.Err())
	case err != nil:
		return true, failure.Wrap(err, failure.Unavailable, "the transaction of the inbox was not committed")
	}
	return true, nil
}

// failed is an error of the database before the handler ran.
func (i *Inbox) failed(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("inbox: %w", ctx.Err())
	case sqldb.Busy(err):
		return inbox.ErrUnderWay.WithCause(err)
	case sqldb.Missing(err):
		return failure.Wrap(err, failure.Unavailable, "the table of the inbox is not there: see sqlinbox.Inbox.Migrate")
	}
	return failure.Wrap(err, failure.Unavailable, "the database of the inbox does not answer")
}

// idle is for how many milliseconds a transaction of ctx may do nothing: somewhat longer than its time. nil: that of the database.
func idle(ctx context.Context) any {
	end, ok := ctx.Deadline()
	if !ok {
		return nil
	}
	left := min(max(time.Until(end), 0)+idleGrace, math.MaxInt32*time.Millisecond)
	return strconv.FormatInt(left.Milliseconds(), 10)
}

// lockOf is the advisory lock of a message. Messages that share one with something else are brought later, no more.
func lockOf(key string) int64 {
	sum := sha256.Sum256([]byte(key))
	return int64(binary.BigEndian.Uint64(sum[:])) //nolint:gosec // any number
}

// plain is s as a text that every database keeps as it is.
func plain(s string) string {
	if utf8.ValidString(s) && !strings.ContainsRune(s, 0) && len(s) <= 1024 {
		return s
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s)))
}

// Clean removes at most limit marks that are older than Config.Keep, and says how many.
func (i *Inbox) Clean(ctx context.Context, limit int) (int, error) {
	var before any = i.cfg.Keep.Seconds()
	if i.dialect != PostgreSQL {
		before = time.Now().Add(-i.cfg.Keep).UnixMicro()
	}
	res, err := i.db.ExecContext(ctx, i.clean, before, limit)
	if err != nil {
		return 0, i.failed(ctx, err)
	}
	n, err := res.RowsAffected()
	return int(n), err //nolint:wrapcheck // of a driver that does not count
}

// Run removes marks whose time is over, some at a time, until ctx ends: a lifecycle.Component. Several instances may run it.
func (i *Inbox) Run(ctx context.Context) error {
	for backoff.Pause(ctx, backoff.Jitter(i.cfg.CleanEvery/2, i.cfg.CleanEvery*3/2)) {
		for {
			call, cancel := context.WithTimeout(ctx, 30*time.Second)
			n, err := i.Clean(call, cleanBatch)
			cancel()
			if err != nil && ctx.Err() == nil {
				i.cfg.Logger.Warn("old marks of the inbox cannot be removed", "inbox", i.Name(), "error", err)
			}
			if err != nil || n < cleanBatch || !backoff.Pause(ctx, cleanPause) {
				break
			}
		}
	}
	return nil
}

// Name returns "inbox PREFIX".
func (i *Inbox) Name() string { return "inbox " + i.cfg.Prefix }
