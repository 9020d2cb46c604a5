//go:build real && unix

package pgtest_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/internal/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What was committed is there after kill -9, at the same address; what is frozen does not answer, and goes on.
func TestRealKillFreeze(t *testing.T) {
	s, err := pgtest.Start(t.Context(), pgtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	db, err := sql.Open("pgx", s.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE t AS SELECT 42 AS n"); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	if err := db.PingContext(t.Context()); err == nil {
		t.Error("it answers although it was killed")
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT n FROM t").Scan(&n); err != nil || n != 42 {
		t.Errorf("%d, %v after a restart, want 42", n, err)
	}
	if err := s.Freeze(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := db.QueryRowContext(short, "SELECT n FROM t").Scan(&n); err == nil {
		t.Error("it answers although it is frozen")
	}
	if err := s.Thaw(); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRowContext(t.Context(), "SELECT n FROM t").Scan(&n); err != nil {
		t.Error(err)
	}
}
