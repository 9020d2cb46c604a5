package sqlinbox_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/inbox/inboxtest"
	"github.com/holdfast-go/holdfast/queue/inbox/sqlinbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// database is one of either kind.
type database struct {
	dialect sqlinbox.Dialect
	open    func(t *testing.T) *sql.DB // another pool each time
}

func sqlite(t *testing.T) database {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	return database{sqlinbox.SQLite, func(t *testing.T) *sql.DB {
		return open(t, "sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=busy_timeout(50)")
	}}
}

func open(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func newInbox(t *testing.T, db *sql.DB, d sqlinbox.Dialect, cfg sqlinbox.Config) *sqlinbox.Inbox {
	t.Helper()
	in, err := sqlinbox.New(db, d, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return in
}

func exec(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// conformance runs the suite with the effect in the transaction.
func conformance(t *testing.T, d database) {
	db := d.open(t)
	exec(t, db, "CREATE TABLE effects (name text NOT NULL)")
	inboxtest.Run(t, inboxtest.Config{
		Open: func(t *testing.T) (a, b queue.Inbox) {
			return newInbox(t, db, d.dialect, sqlinbox.Config{MaxWait: 5 * time.Second}), newInbox(t, d.open(t), d.dialect, sqlinbox.Config{MaxWait: 5 * time.Second})
		},
		Effect: func(ctx context.Context, name string) error {
			tx, ok := sqlinbox.Tx(ctx)
			if !ok {
				return errors.New("no transaction")
			}
			_, err := tx.ExecContext(ctx, "INSERT INTO effects (name) VALUES ($1)", name)
			return err
		},
		Count: func(t *testing.T, name string) (n int) {
			if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM effects WHERE name = $1", name).Scan(&n); err != nil {
				t.Error(err)
			}
			return n
		},
		Forget: func(t *testing.T) {
			time.Sleep(time.Millisecond) //nolint:forbidigo // of the database's clock
			in := newInbox(t, db, d.dialect, sqlinbox.Config{Keep: time.Microsecond})
			for n, err := in.Clean(t.Context(), 3); n > 0 || err != nil; n, err = in.Clean(t.Context(), 3) {
				if err != nil || n > 3 {
					t.Fatalf("%d removed at once, of at most 3; %v", n, err)
				}
			}
		},
	})
}

func TestSQLite(t *testing.T) { conformance(t, sqlite(t)) }

// Many instances that start at once make the tables once, and none fails.
func migrations(t *testing.T, d database) {
	var wg sync.WaitGroup
	for range 6 {
		db := d.open(t)
		wg.Go(func() {
			in, err := sqlinbox.New(db, d.dialect, sqlinbox.Config{Prefix: "many_"})
			if err == nil {
				err = in.Migrate(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	db := d.open(t)
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM many_inbox_schema").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d migrations noted, %v; want 1", n, err)
	}
	script, err := sqlinbox.Schema(d.dialect, "own_")
	if err != nil {
		t.Fatal(err)
	}
	for s := range strings.SplitSeq(script, ";\n") {
		if s = strings.TrimSpace(s); s != "" && s != "BEGIN" && s != "COMMIT" {
			exec(t, db, s)
		}
	}
	in := newInbox(t, db, d.dialect, sqlinbox.Config{Prefix: "own_"})
	if err := in.Once(t.Context(), "t/g", "1", func(context.Context) error { return nil }); err != nil {
		t.Errorf("with tables made by hand: %v", err)
	}
}

func TestMigrationsSQLite(t *testing.T) { migrations(t, sqlite(t)) }

func TestErrors(t *testing.T) {
	d := sqlite(t)
	db := d.open(t)
	for _, prefix := range []string{"Robert'); --", "1a", "a.b.c", ".x", strings.Repeat("a", 50)} {
		if _, err := sqlinbox.New(db, sqlinbox.SQLite, sqlinbox.Config{Prefix: prefix}); failure.CodeOf(err) != failure.InvalidArgument {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
	if _, err := sqlinbox.New(db, 7, sqlinbox.Config{}); failure.CodeOf(err) != failure.InvalidArgument {
		t.Errorf("dialect 7: %v", err)
	}
	in, err := sqlinbox.New(db, sqlinbox.SQLite, sqlinbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	nothing := func(context.Context) error { return nil }
	if err := in.Once(t.Context(), "t/g", "1", nothing); failure.CodeOf(err) != failure.Unavailable || !strings.Contains(err.Error(), "Migrate") {
		t.Errorf("without a table: %v", err)
	}
	if err := in.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = in.Once(t.Context(), "t/g", "1", func(ctx context.Context) error {
		tx, _ := sqlinbox.Tx(ctx)
		return tx.Rollback()
	})
	if failure.CodeOf(err) != failure.Internal {
		t.Errorf("a handler that ends the transaction: %v", err)
	}
	db.Close()
	if err := in.Once(t.Context(), "t/g", "2", nothing); failure.CodeOf(err) != failure.Unavailable {
		t.Errorf("without a database: %v", err)
	}
}

// A message that another instance handles for longer than MaxWait is to come later; no connection is held meanwhile.
func underWay(t *testing.T, d database) {
	db := d.open(t)
	in := newInbox(t, db, d.dialect, sqlinbox.Config{})
	other, err := sqlinbox.New(d.open(t), d.dialect, sqlinbox.Config{MaxWait: -1})
	if err != nil {
		t.Fatal(err)
	}
	err = in.Once(t.Context(), "t/g", "1", func(ctx context.Context) error {
		err := other.Once(ctx, "t/g", "1", func(context.Context) error {
			t.Error("handled by two at once")
			return nil
		})
		if failure.CodeOf(err) != failure.Aborted || failure.From(err).RetryAfter <= 0 {
			t.Errorf("%v, want ABORTED with a time to come back", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestUnderWaySQLite(t *testing.T) { underWay(t, sqlite(t)) }

// Run cleans up by itself.
func TestRun(t *testing.T) {
	d := sqlite(t)
	db := d.open(t)
	in := newInbox(t, db, d.dialect, sqlinbox.Config{Keep: time.Microsecond, CleanEvery: time.Millisecond})
	for _, id := range []string{"1", "2", "3"} {
		if err := in.Once(t.Context(), "t/g", id, func(context.Context) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	done := make(chan error)
	go func() { done <- in.Run(ctx) }()
	for n := 3; n > 0 && ctx.Err() == nil; {
		if err := db.QueryRowContext(ctx, "SELECT count(*) FROM holdfast_inbox").Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	if ctx.Err() != nil {
		t.Error("nothing was cleaned up")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
