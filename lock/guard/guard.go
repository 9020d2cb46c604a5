// Package guard makes storage refuse those who held a lock and do not any more.
//
// A lock ends by time, and a write that was sent in time can arrive late: no lock can prevent that, and storage can. Each
// holder's token is larger than that of the one before (lock.Held.Token), so storage that remembers the largest it has
// seen, and compares in the same transaction in which it writes, takes nothing from a holder that was followed by
// another one (M. Kleppmann, "How to do distributed locking", 2016).
//
//	tx, err := db.BeginTx(ctx, nil)
//	if err := tokens.Check(ctx, tx, "ledger", held.Token()); err != nil { … } // guard.ErrStale: stop
//	tx.ExecContext(ctx, "UPDATE …")
//	tx.Commit()
//
// A holder that was followed by one that has not written yet may still write: nothing of the next one's is lost by that.
// This package is for SQL; etcdguard is for etcd. Storage with conditions of its own (a version column, an object store's
// If-Match) can do the same with the token as a field: write where the stored token is not larger.
package guard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast-go/holdfast/failure"
)

// ReasonStale is that of ErrStale, in failure.Domain.
const ReasonStale = "STALE_TOKEN"

// ErrStale says that a holder with a larger token has written: whoever gets it holds the lock no more, and its
// transaction must not be committed.
var ErrStale error = failure.New(failure.Aborted, "somebody else has held the lock since").WithReason(ReasonStale, failure.Domain)

// Dialect is how a database spells things.
type Dialect int

// The dialects. SQLite's is the zero value and what most others understand, with '?' for parameters.
const (
	SQLite Dialect = iota
	Postgres
	MySQL
)

// DefaultTable is the table's name unless SQL.Table says otherwise.
const DefaultTable = "holdfast_tokens"

// SQL keeps the largest tokens in a table, one row for each thing that is guarded. The zero value works, on SQLite. Safe
// for concurrent use.
type SQL struct {
	// Table is put into statements as it is; default DefaultTable. It must be in the same database as what is guarded.
	Table   string
	Dialect Dialect
}

// execer is a *sql.DB, a *sql.Tx or a *sql.Conn.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Schema is the statement that makes the table, for migrations. It does nothing if there is one. Names are compared byte by
// byte. On MySQL a table that was made with a VARCHAR, whose collation takes "Ledger" and "ledger" for one name, needs an
// ALTER TABLE … MODIFY name VARBINARY(256) NOT NULL.
func (g SQL) Schema() string {
	text := "TEXT"
	if g.Dialect == MySQL {
		text = "VARBINARY(256)" // a key has a length there, and text a collation
	}
	return "CREATE TABLE IF NOT EXISTS " + g.table() + " (name " + text + " NOT NULL PRIMARY KEY, token BIGINT NOT NULL)"
}

func (g SQL) table() string {
	if g.Table == "" {
		return DefaultTable
	}
	return g.Table
}

// Check remembers token as the largest of name, and returns an error that is ErrStale if a larger one was there. Call it
// first in the transaction that writes, and commit only after nil: from then on the row is locked until the end of the
// transaction, so that a holder with another token waits and is judged afterwards. Any isolation level will do.
func (g SQL) Check(ctx context.Context, tx *sql.Tx, name string, token uint64) error {
	if err := g.check(ctx, tx, name, token); err != nil {
		return fmt.Errorf("guard %s: %w", name, err)
	}
	return nil
}

func (g SQL) check(ctx context.Context, tx execer, name string, token uint64) error {
	if token == 0 || token > 1<<63-1 {
		return errors.New("a token that no lock gives: " + strconv.FormatUint(token, 10))
	}
	if g.Dialect == MySQL {
		return g.checkMySQL(ctx, tx, name, int64(token)) //nolint:gosec // bounded above
	}
	// The row has to be there before it can be locked, and twice at once it cannot be made.
	if _, err := tx.ExecContext(ctx, g.insert(), name, int64(0)); err != nil {
		return err
	}
	update := g.spell("UPDATE " + g.table() + " SET token = ? WHERE name = ? AND token <= ?")
	result, err := tx.ExecContext(ctx, update, int64(token), name, int64(token)) //nolint:gosec // bounded above
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n != 1 {
		err = ErrStale
	}
	return err
}

// checkMySQL locks the row exclusively with its first statement, whether it is there or not. INSERT IGNORE would lock one
// that is there shared, and an UPDATE the gap where one is missing: two of either, who both go on, are a deadlock.
func (g SQL) checkMySQL(ctx context.Context, tx execer, name string, token int64) error {
	if _, err := tx.ExecContext(ctx, g.insert(), name, token); err != nil {
		return err
	}
	// How many rows were changed says nothing of one that has the token already. FOR UPDATE reads what is there, and not
	// what was when the transaction began.
	var have int64
	row := tx.QueryRowContext(ctx, "SELECT token FROM "+g.table()+" WHERE name = ? FOR UPDATE", name)
	if err := row.Scan(&have); err != nil {
		return err
	}
	if have != token {
		return ErrStale
	}
	return nil
}

func (g SQL) insert() string {
	if g.Dialect == MySQL {
		return "INSERT INTO " + g.table() + " (name, token) VALUES (?, ?) ON DUPLICATE KEY UPDATE token = GREATEST(token, VALUES(token))"
	}
	return g.spell("INSERT INTO " + g.table() + " (name, token) VALUES (?, ?) ON CONFLICT DO NOTHING")
}

// spell replaces the parameters of a statement that has no other '?'.
func (g SQL) spell(statement string) string {
	if g.Dialect != Postgres {
		return statement
	}
	var b strings.Builder
	n := 0
	for i := range len(statement) {
		if statement[i] != '?' {
			b.WriteByte(statement[i])
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}
