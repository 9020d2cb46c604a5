package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// Tx is the transaction that an event belongs to: a *sql.Tx, a *sql.Conn in which one was begun, what wraps them, or PGX.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// PGX makes a Tx of pgx's own transactions (pgx.Tx), for programs that do not use database/sql for their statements.
func PGX(tx interface {
	Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error)
},
) Tx {
	return pgxTx{tx}
}

type pgxTx struct {
	tx interface {
		Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error)
	}
}

func (t pgxTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	tag, err := t.tx.Exec(ctx, query, args...)
	return affected(tag.RowsAffected()), err //nolint:wrapcheck // as it is
}

type affected int64

func (a affected) LastInsertId() (int64, error) {
	return 0, failure.New(failure.Unimplemented, "there is no such thing")
}
func (a affected) RowsAffected() (int64, error) { return int64(a), nil }

// Add writes an event into tx, to be published to topic after tx was committed; if it is rolled back there was no event. value and
// opts are as for queue.Queue.Publish, and the trace of ctx goes along.
//
// Events with the same key are published in the order of their transactions: on PostgreSQL the second transaction that adds
// one waits here until the first has ended (Config.NoKeyLock). Transactions that add events of several keys in different
// orders, one at a time, may wait for each other; the database ends one of them then (ABORTED). AddMessages sorts them. Of a
// transaction with more than some thousands of keys PostgreSQL may have no room for the locks.
//
// An error is INVALID_ARGUMENT for what cannot be an event, and then tx can go on; after any other PostgreSQL has given tx up.
func (s *Store) Add(ctx context.Context, tx Tx, topic string, value any, opts ...queue.PublishOption) error {
	m, err := queue.NewMessage(ctx, s.cfg.Source, topic, value, s.cfg.Propagator, opts...)
	if err != nil {
		return err //nolint:wrapcheck // says what it is
	}
	return s.AddMessages(ctx, tx, topic, m)
}

// AddMessages is Add for messages that are encoded already (queue.NewMessage). Those with the same key keep their order.
func (s *Store) AddMessages(ctx context.Context, tx Tx, topic string, messages ...*driver.Message) error {
	if err := queue.ValidateName(topic); err != nil {
		return failure.Wrap(err, failure.InvalidArgument, "add an event: the topic %.40q", topic)
	}
	attributes := make([]string, len(messages))
	for i, m := range messages {
		var err error
		if attributes[i], err = s.check(topic, m); err != nil {
			return err
		}
	}
	query, one := s.sql.add, s.locks() && len(messages) == 1 && messages[0].Key != ""
	if one {
		query = s.sql.addLocked
	}
	if s.locks() && len(messages) > 1 { // all who come by here take them in the same order
		var locks []int64
		for _, m := range messages {
			if m.Key != "" {
				locks = append(locks, s.lock(topic, m.Key))
			}
		}
		slices.Sort(locks)
		if _, err := tx.ExecContext(ctx, s.sql.lock, list('{', '}', slices.Compact(locks))); err != nil {
			return s.failed(ctx, "add events to "+topic, err)
		}
	}
	defer func() { s.added.Store(time.Now().UnixNano()) }()
	for i, m := range messages {
		args := []any{topic, m.Key, m.ID, m.Source, m.Type, s.time(m.Time), m.ContentType, attributes[i], m.Data}
		if m.Data == nil {
			args[8] = []byte{}
		}
		switch {
		case s.dialect == SQLite:
			args = append(args, s.time(time.Now()))
		case one:
			args = append([]any{s.lock(topic, m.Key)}, args...)
		}
		if _, err := tx.ExecContext(ctx, query, args...); err != nil {
			return s.failed(ctx, "add an event to "+topic, err)
		}
	}
	return nil
}

// locks: SQLite has one writer at a time anyway.
func (s *Store) locks() bool { return s.dialect == PostgreSQL && !s.cfg.NoKeyLock }

// lock is the advisory lock of a key: that of an outbox, so that others are not in the way but by chance.
func (s *Store) lock(topic, key string) int64 {
	h := fnv.New64a()
	for _, part := range []string{s.cfg.Prefix, topic, key} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return int64(h.Sum64()) //nolint:gosec // any number
}

// check refuses what could be neither stored nor published, and returns the attributes as they are stored.
func (s *Store) check(topic string, m *driver.Message) (attributes string, err error) {
	if err := queue.Validate(m); err != nil {
		return "", failure.Wrap(err, failure.InvalidArgument, "add an event to %s: nobody would take it", topic)
	}
	if len(m.Data) > s.cfg.MaxMessage {
		return "", failure.New(failure.InvalidArgument, "add an event to %s: %d bytes of data, at most %d are taken", topic, len(m.Data), s.cfg.MaxMessage)
	}
	for name, text := range map[string]string{"key": m.Key, "ID": m.ID, "source": m.Source, "type": m.Type, "content type": m.ContentType} {
		if strings.ContainsRune(text, 0) {
			return "", failure.New(failure.InvalidArgument, "add an event to %s: its %s has a character 0, which databases do not keep", topic, name)
		}
	}
	if len(m.Attributes) == 0 {
		return "", nil
	}
	b, err := json.Marshal(m.Attributes)
	if err != nil {
		return "", failure.Wrap(err, failure.InvalidArgument, "add an event to %s: its attributes", topic)
	}
	return string(b), nil
}

// time is t as the database has it: PostgreSQL as a time, SQLite as microseconds since 1970.
func (s *Store) time(t time.Time) any {
	if s.dialect == SQLite {
		return t.UnixMicro()
	}
	return t.UTC()
}
