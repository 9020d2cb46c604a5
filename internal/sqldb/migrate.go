package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/internal/backoff"
)

// Migration is one step of a schema. What was published once is not changed any more.
type Migration struct {
	// Version is 1, 2, 3 …
	Version int
	// Name says what it is about.
	Name string
	// Statements are run one after the other in one transaction.
	Statements []string
}

// String is the migration as SQL.
func (m Migration) String() string {
	return fmt.Sprintf("-- %d: %s\n%s;\n", m.Version, m.Name, strings.Join(m.Statements, ";\n"))
}

// Load reads the migrations of a dialect from files DIALECT/0001_NAME.sql, in which {{prefix}} stands for prefix, {{schema}} for
// that of prefix with its dot, and {{name}} for the rest of it. Statements end with a semicolon at the end of a line.
func Load(files fs.FS, d Dialect, prefix string) ([]Migration, error) {
	if err := CheckPrefix(prefix); err != nil {
		return nil, err
	}
	names, err := fs.Glob(files, path.Join(d.String(), "*.sql"))
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("no migrations for %v: %w", d, err)
	}
	schema, name := "", prefix
	if i := strings.IndexByte(prefix, '.'); i >= 0 {
		schema, name = prefix[:i+1], prefix[i+1:]
	}
	replace := strings.NewReplacer("{{prefix}}", prefix, "{{schema}}", schema, "{{name}}", name)
	var out []Migration
	for i, file := range names { // in order of their names
		b, err := fs.ReadFile(files, file)
		if err != nil {
			return nil, err
		}
		number, title, _ := strings.Cut(strings.TrimSuffix(path.Base(file), ".sql"), "_")
		if n, err := strconv.Atoi(number); err != nil || n != i+1 {
			return nil, fmt.Errorf("migration %s: its number is not %d", file, i+1)
		}
		m := Migration{Version: i + 1, Name: strings.ReplaceAll(title, "_", " ")}
		for s := range strings.SplitSeq(replace.Replace(string(b)), ";\n") {
			if s = strings.TrimSpace(s); s != "" {
				m.Statements = append(m.Statements, s)
			}
		}
		out = append(out, m)
	}
	return out, nil
}

// Migrate brings a schema up to date, all of it in one transaction. table remembers which migrations were made. Any number of
// processes may do it at once: one does it, the others wait and find it done. A schema that is newer than the
// migrations is left alone.
func Migrate(ctx context.Context, db *sql.DB, d Dialect, table string, migrations []Migration) error {
	last := migrations[len(migrations)-1].Version
	if version, err := version(ctx, db, table); err == nil && version >= last {
		return nil // also for those who may not change the schema
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("migrate %s: %w", table, err)
	}
	defer conn.Close() //nolint:errcheck // back to the pool, or lost
	if err := begin(ctx, conn, d, table); err != nil {
		return fmt.Errorf("migrate %s: %w", table, err)
	}
	err = migrate(ctx, conn, d, table, migrations)
	end := "COMMIT"
	if err != nil {
		end = "ROLLBACK"
	}
	// Also when ctx is over, since the connection goes back to the pool.
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if _, endErr := conn.ExecContext(short, end); endErr != nil {
		err = errors.Join(err, endErr)
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // not back to the pool with a transaction
	}
	if err != nil {
		return fmt.Errorf("migrate %s: %w", table, err)
	}
	return nil
}

// version returns the last migration that was made, 0 for none.
func version(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, table string,
) (v int, err error) {
	err = q.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM "+table).Scan(&v)
	return v, err
}

// begin begins a transaction that excludes others that do the same.
func begin(ctx context.Context, conn *sql.Conn, d Dialect, table string) error {
	if d == PostgreSQL {
		if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
			return err
		}
		// CREATE TABLE IF NOT EXISTS is no protection: two at once can collide in the catalog.
		h := fnv.New64a()
		h.Write([]byte("holdfast " + table))
		_, err := conn.ExecContext(ctx, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", int64(h.Sum64()))) //nolint:gosec // any number
		if err != nil {
			_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		}
		return err
	}
	pause := backoff.Backoff{Base: 10 * time.Millisecond, Max: 200 * time.Millisecond}
	for {
		_, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE")
		if err == nil || !Busy(err) || !backoff.Pause(ctx, pause.Next()) {
			return err
		}
	}
}

func migrate(ctx context.Context, conn *sql.Conn, d Dialect, table string, migrations []Migration) error {
	when := "timestamptz NOT NULL DEFAULT now()"
	if d == SQLite {
		when = "text NOT NULL DEFAULT CURRENT_TIMESTAMP"
	}
	if _, err := conn.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+table+" (version integer PRIMARY KEY, name text NOT NULL, applied "+when+")"); err != nil {
		return err
	}
	made, err := version(ctx, conn, table)
	if err != nil {
		return err
	}
	for _, m := range migrations {
		if m.Version <= made {
			continue
		}
		for _, s := range m.Statements {
			if _, err := conn.ExecContext(ctx, s); err != nil {
				return fmt.Errorf("%d %s: %w", m.Version, m.Name, err)
			}
		}
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("INSERT INTO %s (version, name) VALUES (%d, '%s')", table, m.Version, m.Name)); err != nil { //nolint:gosec // ours
			return err
		}
	}
	return nil
}

// Script is all of a schema as SQL, for those who make it by themselves: run once, Migrate finds it made.
func Script(d Dialect, table string, migrations []Migration) string {
	when := "timestamptz NOT NULL DEFAULT now()"
	if d == SQLite {
		when = "text NOT NULL DEFAULT CURRENT_TIMESTAMP"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "BEGIN;\nCREATE TABLE IF NOT EXISTS %s (version integer PRIMARY KEY, name text NOT NULL, applied %s);\n", table, when)
	for _, m := range migrations {
		fmt.Fprintf(&b, "\n%vINSERT INTO %s (version, name) VALUES (%d, '%s');\n", m, table, m.Version, m.Name)
	}
	b.WriteString("COMMIT;\n")
	return b.String()
}
