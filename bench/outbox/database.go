package main

import (
	"context"
	"database/sql"
	"fmt"

	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	_ "modernc.org/sqlite"             // driver "sqlite"

	"github.com/holdfast-go/holdfast/internal/pgtest"
	"github.com/holdfast-go/holdfast/queue/outbox/sqlstore"
)

// database is one of either kind, whose commits are on disk.
type database struct {
	*sql.DB
	dialect sqlstore.Dialect
	close   func()
}

func open(ctx context.Context, engine, path string) (*database, error) {
	name, dsn, end := "sqlite", "file:"+path+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(10000)", func() {}
	dialect := sqlstore.SQLite
	if engine == "postgresql" {
		server, err := pgtest.Start(ctx, pgtest.Config{Sync: true, Settings: []string{"shared_buffers = 128MB"}})
		if err != nil {
			return nil, err
		}
		name, dsn, end, dialect = "pgx", server.URL(""), server.Close, sqlstore.PostgreSQL
	}
	db, err := sql.Open(name, dsn)
	if err != nil {
		end()
		return nil, fmt.Errorf("open %s: %w", engine, err)
	}
	db.SetMaxOpenConns(24)
	db.SetMaxIdleConns(24)
	return &database{DB: db, dialect: dialect, close: func() {
		_ = db.Close()
		end()
	}}, nil
}
