package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/outbox"
)

// Pending implements outbox.Store. Nothing is remembered of what was read before: an event whose transaction took its
// number early and was committed late is there from then on, whatever was published meanwhile.
func (s *Store) Pending(ctx context.Context, q outbox.Query) ([]outbox.Event, error) {
	query, args := s.sql.pending, []any{q.Limit, q.MaxBytes}
	if len(q.Skip.Topics)+len(q.Skip.Keys)+len(q.Skip.Seqs) > 0 {
		keys := make([][2]string, len(q.Skip.Keys))
		for i, k := range q.Skip.Keys {
			keys[i] = [2]string{k.Topic, k.Key}
		}
		query = s.sql.pendingBut
		args = append(args, text(append([]string{}, q.Skip.Topics...)), text(keys), s.list(q.Skip.Seqs))
	}
	var events []outbox.Event
	err := s.planned(ctx, func(q querier) (err error) {
		events, err = s.query(ctx, q, query, args)
		return err
	})
	if err != nil {
		return nil, s.failed(ctx, "read the outbox", err)
	}
	s.mu.Lock()
	if len(events) > 0 {
		s.idle = 0
		s.found += len(events)
	}
	rouse := s.wakes() && s.told != awake && s.found > manyFound
	s.mu.Unlock()
	if rouse {
		s.sleep(ctx, awake)
	}
	return events, nil
}

// text is v, which is strings and numbers, as JSON.
func text(v any) string {
	b, _ := json.Marshal(v) // they can be
	return string(b)
}

// list is numbers as the database reads them.
func (s *Store) list(seqs []uint64) string {
	if s.dialect == PostgreSQL {
		return list('{', '}', seqs)
	}
	return list('[', ']', seqs)
}

func list[N int64 | uint64](start, end byte, numbers []N) string {
	b := make([]byte, 0, 2+12*len(numbers))
	b = append(b, start)
	for i, n := range numbers {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(n), 10) //nolint:gosec // as the database counts
	}
	return string(append(b, end))
}

// querier is a *sql.DB or a *sql.Tx.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// planned runs what has to go by the index. PostgreSQL plans a statement when it sees it first, when the table is empty as often as
// not and reading all of it is the best there is, and keeps to that while the table grows.
func (s *Store) planned(ctx context.Context, run func(q querier) error) error {
	if s.dialect != PostgreSQL {
		return run(s.db)
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to do
	if _, err := tx.ExecContext(ctx, "SET LOCAL enable_seqscan = off"); err != nil {
		return err
	}
	if err := run(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func (s *Store) query(ctx context.Context, q querier, query string, args []any) (events []outbox.Event, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err says it
	for rows.Next() {
		var e outbox.Event
		m := &driver.Message{}
		var happened, added moment
		var attributes string
		if err := rows.Scan(&e.Seq, &e.Topic, &m.Key, &m.ID, &m.Source, &m.Type, &happened, &m.ContentType, &attributes, &m.Data, &added); err != nil {
			return nil, err
		}
		m.Time, e.Added, e.Message = time.Time(happened), time.Time(added), m
		if m.Attributes, err = readAttributes(attributes); err != nil {
			// Somebody wrote into the table by hand. The event is more than they are.
			s.cfg.Logger.Warn("the attributes of an event cannot be read, and it is published without", "outbox", s.cfg.Prefix, "seq", e.Seq, "error", err)
		}
		events = append(events, e)
	}
	return events, rows.Err()
}

// readAttributes reads what is stored; on an error there are none.
func readAttributes(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > maxAttributes {
		return nil, errors.New("too long")
	}
	var m map[string]string
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return nil, err
	}
	return m, nil
}

const maxAttributes = 256 << 10

// moment is a time as either database has it.
type moment time.Time

// Scan implements sql.Scanner.
func (m *moment) Scan(v any) error {
	switch v := v.(type) {
	case time.Time:
		*m = moment(v.UTC())
	case int64:
		*m = moment(time.UnixMicro(v).UTC())
	case nil:
		*m = moment{}
	default:
		return fmt.Errorf("a time as %T", v)
	}
	return nil
}

// Done implements outbox.Store.
func (s *Store) Done(ctx context.Context, seqs []uint64) error {
	if len(seqs) == 0 {
		return nil
	}
	return s.finish(ctx, s.sql.keep, s.sql.done, s.list(seqs))
}

// Mark implements outbox.Marker: a standby that takes over without the last transactions gives their numbers out again.
func (s *Store) Mark(ctx context.Context, marks []outbox.Mark) error {
	if len(marks) == 0 {
		return nil
	}
	seqs, pairs := make([]uint64, len(marks)), make([][2]any, len(marks))
	for i, m := range marks {
		seqs[i], pairs[i] = m.Seq, [2]any{m.Seq, m.ID}
	}
	return s.finish(ctx, s.sql.keepMarked, s.sql.mark, s.list(seqs), text(pairs))
}

func (s *Store) finish(ctx context.Context, keep, done string, args ...any) error {
	var err error
	if s.dialect == SQLite && s.cfg.Keep > 0 {
		err = s.keep(ctx, keep, done, args)
	} else {
		err = s.planned(ctx, func(q querier) error {
			_, err := q.ExecContext(ctx, done, args...)
			return err
		})
	}
	if err != nil {
		return s.failed(ctx, "mark events as published", err)
	}
	return nil
}

func (s *Store) keep(ctx context.Context, keep, done string, args []any) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to do
	if _, err := tx.ExecContext(ctx, keep, append(slices.Clone(args), s.time(time.Now()))...); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, done, args...); err != nil {
		return err
	}
	return tx.Commit()
}

// Clean implements outbox.Cleaner: it removes events that were published longer ago than Config.Keep.
func (s *Store) Clean(ctx context.Context, limit int) (int, error) {
	var before any = s.cfg.Keep.Seconds()
	if s.dialect == SQLite {
		before = s.time(time.Now().Add(-s.cfg.Keep))
	}
	res, err := s.db.ExecContext(ctx, s.sql.clean, before, limit)
	if err != nil {
		return 0, s.failed(ctx, "clean the outbox", err)
	}
	n, err := res.RowsAffected()
	return int(n), err //nolint:wrapcheck // of a driver that does not count
}

// Lag implements outbox.Counter.
func (s *Store) Lag(ctx context.Context) (outbox.Lag, error) {
	var lag outbox.Lag
	var oldest moment
	err := s.db.QueryRowContext(ctx, s.sql.lag, outbox.MaxLag).Scan(&lag.Pending, &oldest)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return outbox.Lag{}, s.failed(ctx, "count the outbox", err)
	}
	lag.Oldest = time.Time(oldest)
	return lag, nil
}
