package guard

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"strings"
	"testing"
)

// mysql is a database that has one row, and knows which statements lock one how.
type mysql struct {
	token int64 // 0: there is none
	locks []string
}

func (m *mysql) Connect(context.Context) (driver.Conn, error) { return m, nil }
func (m *mysql) Driver() driver.Driver                        { return nil }
func (m *mysql) Prepare(string) (driver.Stmt, error)          { return nil, errors.ErrUnsupported }
func (m *mysql) Close() error                                 { return nil }
func (m *mysql) Begin() (driver.Tx, error)                    { return m, nil }
func (m *mysql) Commit() error                                { return nil }
func (m *mysql) Rollback() error                              { return nil }

func (m *mysql) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	changed := int64(0)
	switch {
	case strings.HasPrefix(query, "INSERT INTO") && strings.Contains(query, "ON DUPLICATE KEY UPDATE token = GREATEST(token, VALUES(token))"):
		m.locks = append(m.locks, "exclusive")
		if token := args[1].Value.(int64); token > m.token {
			m.token, changed = token, 1
		}
	case strings.HasPrefix(query, "INSERT IGNORE"):
		m.locks = append(m.locks, "shared")
		if m.token == 0 {
			m.token, changed = args[1].Value.(int64), 1
		}
	case strings.HasPrefix(query, "UPDATE"):
		if m.token == 0 {
			m.locks = append(m.locks, "gap")
			break
		}
		m.locks = append(m.locks, "exclusive")
		if token := args[0].Value.(int64); token > m.token {
			m.token, changed = token, 1
		}
	default:
		return nil, errors.New("what is " + query)
	}
	return driver.RowsAffected(changed), nil
}

func (m *mysql) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	if !strings.HasPrefix(query, "SELECT token") || !strings.HasSuffix(query, "FOR UPDATE") {
		return nil, errors.New("what is " + query)
	}
	m.locks = append(m.locks, "exclusive")
	return &tokenRow{token: m.token}, nil
}

type tokenRow struct {
	token int64
	read  bool
}

func (r *tokenRow) Columns() []string { return []string{"token"} }
func (r *tokenRow) Close() error      { return nil }

func (r *tokenRow) Next(to []driver.Value) error {
	if r.read {
		return io.EOF
	}
	to[0], r.read = r.token, true
	return nil
}

// TestMySQL: who checks has the row to itself from the first statement on, so that two wait for each other one way only.
func TestMySQL(t *testing.T) {
	for name, c := range map[string]struct {
		stored int64
		token  uint64
		want   error
	}{
		"none":    {0, 5, nil},
		"smaller": {4, 5, nil},
		"same":    {5, 5, nil},
		"larger":  {6, 5, ErrStale},
	} {
		t.Run(name, func(t *testing.T) {
			m := &mysql{token: c.stored}
			db := sql.OpenDB(m)
			defer db.Close()
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			if err := (SQL{Dialect: MySQL}).Check(t.Context(), tx, "a", c.token); !errors.Is(err, c.want) {
				t.Errorf("got %v", err)
			}
			if want := max(c.stored, int64(c.token)); m.token != want {
				t.Errorf("%d is stored, not %d", m.token, want)
			}
			if m.locks[0] != "exclusive" {
				t.Errorf("locks: %v", m.locks)
			}
		})
	}
}
