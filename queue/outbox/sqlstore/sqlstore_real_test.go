//go:build real && unix

package sqlstore_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/holdfast-go/holdfast/internal/pgtest"
	"github.com/holdfast-go/holdfast/queue/outbox/sqlstore"
)

// pass gives other processes time, or is the pause between two looks at what they did.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // they do not tell
}

func start(t *testing.T) *pgtest.Server {
	t.Helper()
	s, err := pgtest.Start(t.Context(), pgtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func postgresql(dsn string) database {
	return database{sqlstore.PostgreSQL, dsn, func(t *testing.T) *sql.DB { return open(t, "pgx", dsn) }}
}

func TestRealPostgreSQL(t *testing.T) {
	server := start(t)
	all := postgresql(server.URL(""))
	for i, c := range []struct {
		name string
		test func(t *testing.T, d database)
	}{
		{"suite", func(t *testing.T, d database) { conformance(t, d, sqlstore.Config{Source: "gone"}) }},
		{"kept", func(t *testing.T, d database) { conformance(t, d, sqlstore.Config{Source: "kept", Keep: time.Hour}) }},
		{"looked at", func(t *testing.T, d database) { conformance(t, d, sqlstore.Config{Source: "looked", NoListen: true}) }},
		{"transactions", transactions},
		{"migrations", migrations},
		{"cleaning", cleaning},
		{"leading", leading},
		{"numbers that are given out again", numbersAgain},
		{"numbers that are kept", numbersKept},
		{"clock that went back", clockBack},
		{"committed out of order", outOfOrder},
		{"order of keys is that of commits", orderOfCommits},
		{"deadlock", deadlock},
		{"waking in vain", wakingInVain},
		{"waking", func(t *testing.T, d database) { waking(t, d, server) }},
	} {
		t.Run(c.name, func(t *testing.T) { // in a database of its own
			name := fmt.Sprint("test", i)
			execute(t, all.open(t), "CREATE DATABASE "+name)
			c.test(t, postgresql(strings.Replace(all.dsn, "/test?", "/"+name+"?", 1)))
		})
	}
}
