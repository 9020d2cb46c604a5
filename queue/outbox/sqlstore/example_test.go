package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/inbox/sqlinbox"
	"github.com/holdfast-go/holdfast/queue/memqueue"
	"github.com/holdfast-go/holdfast/queue/outbox"
	"github.com/holdfast-go/holdfast/queue/outbox/sqlstore"
)

type placed struct{ Order string }

// An order and the event that tells of it are one transaction; the parcel and the mark that the event was handled are another.
func Example() {
	if err := example(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// order 1 has 1 parcel
}

func example() error {
	dir, err := os.MkdirTemp("", "outbox-example-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "shop.db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := db.ExecContext(ctx, "CREATE TABLE orders (id text); CREATE TABLE parcels (id text)"); err != nil {
		return err
	}
	store, err := sqlstore.New(db, sqlstore.SQLite, sqlstore.Config{Source: "orders"})
	if err != nil {
		return err
	}
	if err := store.Migrate(ctx); err != nil {
		return err
	}
	in, err := sqlinbox.New(db, sqlinbox.SQLite, sqlinbox.Config{})
	if err != nil {
		return err
	}
	if err := in.Migrate(ctx); err != nil {
		return err
	}

	q := queue.New(memqueue.New(memqueue.Config{}), queue.Config{Source: "orders"})
	defer q.Close()
	if _, err := queue.NewTopic[placed](q, "orders.placed", queue.Groups("shipping")); err != nil {
		return err
	}
	shipped := make(chan string, 1)
	shipping, err := queue.NewSubscription(q, "orders.placed", "shipping", queue.Handle(func(ctx context.Context, m queue.Message[placed]) error {
		tx, _ := sqlinbox.Tx(ctx)
		if _, err := tx.ExecContext(ctx, "INSERT INTO parcels VALUES (?)", m.Value.Order); err != nil {
			return err
		}
		shipped <- m.Value.Order
		return nil
	}), queue.SubscriptionConfig{Inbox: in})
	if err != nil {
		return err
	}
	relay := outbox.New(store, q, outbox.Config{})
	running, stop := context.WithCancel(ctx) // in a program: lifecycle.Run(ctx, relay, shipping, in, server)
	defer stop()
	done := make(chan error, 2)
	go func() { done <- relay.Run(running) }()
	go func() { done <- shipping.Run(running) }()

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders VALUES ('1')"); err != nil {
		return err
	}
	if err := store.Add(ctx, tx, "orders.placed", placed{"1"}, queue.Key("1")); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}

	order := <-shipped
	stop() // what was begun is finished
	if err := <-done; err != nil {
		return err
	}
	if err := <-done; err != nil {
		return err
	}
	var parcels int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM parcels WHERE id = ?", order).Scan(&parcels); err != nil {
		return err
	}
	fmt.Printf("order %s has %d parcel\n", order, parcels)
	return nil
}
