//go:build real && unix

package sqlstore_test

import (
	"database/sql"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/holdfast-go/holdfast/internal/pgtest"
	"github.com/holdfast-go/holdfast/queue/outbox/sqlstore"
)

func postgresql(t *testing.T) (database, *pgtest.Server) {
	t.Helper()
	s, err := pgtest.Start(t.Context(), pgtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return database{sqlstore.PostgreSQL, func(t *testing.T) *sql.DB { return open(t, "pgx", s.URL("")) }}, s
}

func TestRealPostgreSQL(t *testing.T) {
	d, _ := postgresql(t)
	t.Run("suite", func(t *testing.T) { conformance(t, d, sqlstore.Config{Source: "gone"}) })
	t.Run("kept", func(t *testing.T) { conformance(t, d, sqlstore.Config{Source: "kept", Keep: time.Hour}) })
	t.Run("looked at", func(t *testing.T) { conformance(t, d, sqlstore.Config{Source: "looked", NoListen: true}) })
	t.Run("transactions", func(t *testing.T) { transactions(t, d) })
	t.Run("migrations", func(t *testing.T) { migrations(t, d) })
	t.Run("cleaning", func(t *testing.T) { cleaning(t, d) })
	t.Run("leading", func(t *testing.T) { leading(t, d) })
}
