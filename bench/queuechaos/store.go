package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // postgres
	_ "modernc.org/sqlite"             // sqlite

	"github.com/holdfast-go/holdfast/internal/pgtest"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/inbox/sqlinbox"
)

// store is a database with the effects of messages, and the marks of those that had theirs.
type store struct {
	db       *sql.DB
	postgres bool
}

// startStore makes a database of a kind and returns its URL.
func startStore(ctx context.Context, kind, dir string) (url string, stop func(), err error) {
	switch kind {
	case "sqlite":
		return "sqlite://" + filepath.Join(dir, "effects.db"), func() {}, nil
	case "postgres":
		s, err := pgtest.Start(ctx, pgtest.Config{})
		if err != nil {
			return "", nil, err //nolint:wrapcheck // says it all
		}
		return s.URL(""), s.Close, nil
	}
	return "", nil, fmt.Errorf("-inbox %s: neither postgres nor sqlite", kind)
}

// openStore opens a database and makes its tables if they are not there.
func openStore(ctx context.Context, url string) (*store, error) {
	s := &store{postgres: !strings.HasPrefix(url, "sqlite://")}
	name, source, serial := "pgx", url, "BIGSERIAL PRIMARY KEY"
	if !s.postgres {
		name, serial = "sqlite", "INTEGER PRIMARY KEY AUTOINCREMENT"
		source = "file:" + strings.TrimPrefix(url, "sqlite://") +
			"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(20000)&_txlock=immediate"
	}
	var err error
	if s.db, err = sql.Open(name, source); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if s.db.SetMaxOpenConns(16); !s.postgres {
		s.db.SetMaxOpenConns(1) // they would wait for each other by sleeping
	}
	s.db.SetMaxIdleConns(16)
	for _, make := range []string{
		"CREATE TABLE IF NOT EXISTS effects (n " + serial + ", k INTEGER NOT NULL, seq INTEGER NOT NULL, consumer TEXT NOT NULL, at BIGINT NOT NULL)",
	} {
		if _, err = s.db.ExecContext(ctx, make); err != nil {
			return nil, errors.Join(fmt.Errorf("store: %w", err), s.db.Close())
		}
	}
	return s, nil
}

func (s *store) close() error { return s.db.Close() } //nolint:wrapcheck // nothing is lost

// inbox returns the inbox of a consumer.
func (s *store) inbox(ctx context.Context) (queue.Inbox, error) {
	dialect := sqlinbox.SQLite
	if s.postgres {
		dialect = sqlinbox.PostgreSQL
	}
	in, err := sqlinbox.New(s.db, dialect, sqlinbox.Config{})
	if err == nil {
		err = in.Migrate(ctx)
	}
	return in, err //nolint:wrapcheck // says it all
}

// effect writes a row, in the transaction of the mark.
func (s *store) effect(ctx context.Context, p payload, consumer string) error {
	tx, ok := sqlinbox.Tx(ctx)
	if !ok {
		return errors.New("no transaction")
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO effects (k, seq, consumer, at) VALUES ($1, $2, $3, $4)", p.Key, p.Seq, consumer, time.Now().UnixNano())
	if err != nil {
		return fmt.Errorf("effect: %w", err)
	}
	return nil
}

// count returns how many effects there are.
func (s *store) count(ctx context.Context) (n int, err error) {
	if err = s.db.QueryRowContext(ctx, "SELECT count(*) FROM effects").Scan(&n); err != nil {
		err = fmt.Errorf("effects: %w", err)
	}
	return n, err
}

// happened is an effect.
type happened struct {
	payload  payload
	at       time.Time
	consumer string
}

// effects returns all in the order in which they were written.
func (s *store) effects(ctx context.Context) (out []happened, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT k, seq, at, consumer FROM effects ORDER BY n")
	if err != nil {
		return nil, fmt.Errorf("effects: %w", err)
	}
	defer rows.Close() //nolint:errcheck // rows.Err says it
	for rows.Next() {
		var h happened
		var at int64
		if err := rows.Scan(&h.payload.Key, &h.payload.Seq, &at, &h.consumer); err != nil {
			return nil, fmt.Errorf("effects: %w", err)
		}
		h.at = time.Unix(0, at)
		out = append(out, h)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("effects: %w", err)
	}
	return out, nil
}
