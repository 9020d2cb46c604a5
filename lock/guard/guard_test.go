package guard

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	_ "modernc.org/sqlite" // the driver

	"github.com/holdfast-go/holdfast/failure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "db")+"?_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for _, s := range []string{(SQL{}).Schema(), (SQL{}).Schema(), "CREATE TABLE log (n INTEGER PRIMARY KEY, token BIGINT NOT NULL)"} {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// write is a guarded write.
func write(ctx context.Context, db *sql.DB, name string, token uint64) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := (SQL{}).Check(ctx, tx, name, token); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO log (token) VALUES (?)", int64(token)); err != nil {
		return err
	}
	return tx.Commit()
}

// TestSQL: a token may be used any number of times until a larger one was; what is not committed is not remembered.
func TestSQL(t *testing.T) {
	db := open(t)
	ctx := t.Context()
	for _, c := range []struct {
		name  string
		token uint64
		stale bool
	}{
		{"a", 5, false},
		{"a", 5, false},
		{"a", 7, false},
		{"a", 6, true},
		{"a", 5, true},
		{"b", 1, false},
		{"a", 7, false},
		{"a", 1<<63 - 1, false},
		{"a", 8, true},
	} {
		if err := write(ctx, db, c.name, c.token); errors.Is(err, ErrStale) != c.stale || (err == nil) == c.stale {
			t.Errorf("%s with %d = %v, want stale %v", c.name, c.token, err, c.stale)
		}
	}
	if failure.CodeOf(ErrStale) != failure.Aborted {
		t.Errorf("code %v", failure.CodeOf(ErrStale))
	}
	for _, wrong := range []uint64{0, 1 << 63} {
		if err := write(ctx, db, "c", wrong); err == nil || errors.Is(err, ErrStale) {
			t.Errorf("token %d = %v", wrong, err)
		}
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := (SQL{}).Check(ctx, tx, "d", 9); err != nil {
		t.Error(err)
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	if err := write(ctx, db, "d", 3); err != nil {
		t.Errorf("a token that was not committed counts: %v", err)
	}
}

// TestSQLInOrder: whoever writes at once, what is in the storage has no token after a larger one.
func TestSQLInOrder(t *testing.T) {
	db := open(t)
	var wg sync.WaitGroup
	for token := range uint64(8) {
		wg.Go(func() {
			for range 5 {
				if err := write(t.Context(), db, "a", token+1); err != nil && !errors.Is(err, ErrStale) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	rows, err := db.QueryContext(t.Context(), "SELECT token FROM log ORDER BY n")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var last, token, n int
	for rows.Next() {
		if err := rows.Scan(&token); err != nil {
			t.Fatal(err)
		}
		if n++; token < last {
			t.Errorf("a write with %d after one with %d", token, last)
		}
		last = token
	}
	if err := rows.Err(); err != nil || last != 8 || n < 5 {
		t.Errorf("%d writes, the last with %d, %v", n, last, err)
	}
}

// TestDialects: the statements, as each database spells them.
func TestDialects(t *testing.T) {
	for _, c := range []struct {
		g            SQL
		schema, want string
	}{
		{SQL{}, "holdfast_tokens (name TEXT", "(?, ?) ON CONFLICT DO NOTHING"},
		{SQL{Dialect: Postgres, Table: "x.y"}, "x.y (name TEXT", "INTO x.y (name, token) VALUES ($1, $2) ON CONFLICT DO NOTHING"},
		{SQL{Dialect: MySQL}, "name VARBINARY(256) NOT NULL PRIMARY KEY", "INSERT INTO holdfast_tokens (name, token) VALUES (?, ?) ON DUPLICATE KEY UPDATE"},
	} {
		if !strings.Contains(c.g.Schema(), c.schema) || !strings.Contains(c.g.insert(), c.want) {
			t.Errorf("%+v: %s; %s", c.g, c.g.Schema(), c.g.insert())
		}
	}
}
