package guard_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	_ "modernc.org/sqlite" // the driver

	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/lock/guard"
	"github.com/holdfast-go/holdfast/lock/memlock"
)

// A table whose rows are written by who holds a lock, and by nobody who has held it before.
func Example() {
	ctx := context.Background()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // each connection would have a memory of its own
	tokens := guard.SQL{} // for PostgreSQL: guard.SQL{Dialect: guard.Postgres}
	for _, s := range []string{tokens.Schema(), "CREATE TABLE ledger (id INTEGER PRIMARY KEY, balance INTEGER)", "INSERT INTO ledger VALUES (1, 0)"} {
		if _, err := db.ExecContext(ctx, s); err != nil {
			fmt.Println(err)
			return
		}
	}
	deposit := func(held *lock.Held) error {
		tx, err := db.BeginTx(ctx, nil) // not held.Context(): this is one that does not look
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := tokens.Check(ctx, tx, "ledger", held.Token()); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE ledger SET balance = balance + 10 WHERE id = 1"); err != nil {
			return err
		}
		return tx.Commit()
	}

	locker := lock.New(memlock.New(), lock.Config{})
	defer locker.Close()
	first, _ := locker.Mutex("ledger").Lock(ctx)
	_ = first.Unlock(ctx) // or it was lost
	second, _ := locker.Mutex("ledger").Lock(ctx)
	fmt.Println(deposit(second))
	fmt.Println("stale:", errors.Is(deposit(first), guard.ErrStale))
	var balance int
	fmt.Println(db.QueryRowContext(ctx, "SELECT balance FROM ledger").Scan(&balance), balance)
	// Output:
	// <nil>
	// stale: true
	// <nil> 10
}
