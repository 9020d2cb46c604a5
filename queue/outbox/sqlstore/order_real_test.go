//go:build real && unix

package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/pgtest"
	"github.com/holdfast-go/holdfast/internal/proxytest"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/outbox"
	"github.com/holdfast-go/holdfast/queue/outbox/outboxtest"
	"github.com/holdfast-go/holdfast/queue/outbox/sqlstore"
)

func begin(t *testing.T, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func pendingIDs(t *testing.T, s *sqlstore.Store) (ids []string, seqs []uint64) {
	t.Helper()
	events, err := s.Pending(t.Context(), outbox.Query{Limit: 100, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		ids, seqs = append(ids, e.Message.ID), append(seqs, e.Seq)
	}
	return ids, seqs
}

// Numbers are given out before transactions are committed. A transaction that took the first one and is committed last is not
// missed; and one that adds an event of a key waits for the one before it.
func outOfOrder(t *testing.T, d database) {
	db := d.open(t)
	s := newStore(t, db, d.dialect, sqlstore.Config{})
	early, late := begin(t, db), begin(t, db)
	if err := s.AddMessages(t.Context(), early, "t", outboxtest.Message("early", "a")); err != nil {
		t.Fatal(err)
	}
	if err := s.AddMessages(t.Context(), late, "t", outboxtest.Message("late", "b"), outboxtest.Message("none", "")); err != nil {
		t.Fatal(err)
	}
	if err := late.Commit(); err != nil {
		t.Fatal(err)
	}
	ids, seqs := pendingIDs(t, s)
	if fmt.Sprint(ids) != "[late none]" {
		t.Fatalf("pending: %v", ids)
	}
	if err := s.Done(t.Context(), seqs); err != nil {
		t.Fatal(err)
	}

	second := begin(t, db)
	added := make(chan error, 1)
	go func() { added <- s.AddMessages(t.Context(), second, "t", outboxtest.Message("second", "a")) }()
	select {
	case err := <-added:
		t.Errorf("the second transaction with the key did not wait: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := early.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-added; err != nil {
		t.Fatal(err)
	}
	if err := second.Commit(); err != nil {
		t.Fatal(err)
	}
	if ids, _ := pendingIDs(t, s); fmt.Sprint(ids) != "[early second]" {
		t.Errorf("pending: %v", ids)
	}

	// Without the lock nobody waits.
	free, err := sqlstore.New(db, d.dialect, sqlstore.Config{NoKeyLock: true})
	if err != nil {
		t.Fatal(err)
	}
	first, other := begin(t, db), begin(t, db)
	for i, tx := range []*sql.Tx{first, other} {
		if err := free.AddMessages(t.Context(), tx, "t", outboxtest.Message(fmt.Sprint("free", i), "a")); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(other.Rollback(), first.Rollback()); err != nil {
		t.Fatal(err)
	}
}

// Many transactions add events of few keys before they do the rest of their work, some are rolled back, some add several
// in any order: what is published of a key is in the order in which its transactions changed its row.
func orderOfCommits(t *testing.T, d database) {
	db := d.open(t)
	db.SetMaxOpenConns(20)
	execute(t, db, "CREATE TABLE counters (key text PRIMARY KEY, n int NOT NULL)")
	execute(t, db, "CREATE TABLE told (id text PRIMARY KEY, key text NOT NULL, n int NOT NULL)")
	const keys, writers, each = 3, 12, 40
	for k := range keys {
		execute(t, db, "INSERT INTO counters VALUES ($1, 0)", fmt.Sprint(k))
	}
	s := newStore(t, db, d.dialect, sqlstore.Config{})
	pub := new(outboxtest.Recorder)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	relay := outbox.New(s, pub, outbox.Config{Batch: 7})
	go func() { done <- relay.Run(ctx) }()

	change := func(rnd *rand.Rand, id string) error {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		mine := rnd.Perm(keys)[:1+rnd.IntN(2)]
		var messages []*driver.Message
		for _, k := range mine {
			messages = append(messages, outboxtest.Message(fmt.Sprint(id, "-", k), fmt.Sprint(k)))
		}
		if err := s.AddMessages(t.Context(), tx, "t", messages...); err != nil {
			return err
		}
		pass(time.Duration(rnd.IntN(2000)) * time.Microsecond)
		slices.Sort(mine)
		for _, k := range mine {
			if _, err := tx.ExecContext(t.Context(), `WITH n AS (UPDATE counters SET n = n + 1 WHERE key = $2 RETURNING n) INSERT INTO told SELECT $1, $2, n FROM n`,
				fmt.Sprint(id, "-", k), fmt.Sprint(k)); err != nil {
				return err
			}
		}
		if rnd.IntN(4) == 0 {
			return nil // rolled back
		}
		return tx.Commit()
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range each {
				if err := change(rnd, fmt.Sprint(w, "-", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); pass(10 * time.Millisecond) {
		if l, err := s.Lag(t.Context()); err == nil && l.Pending == 0 {
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	first, doubles := pub.First()
	for k := range keys {
		var want []string
		rows, err := db.QueryContext(t.Context(), "SELECT id FROM told WHERE key = $1 ORDER BY n", fmt.Sprint(k))
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				t.Fatal(err)
			}
			want = append(want, id)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
		if got := first[fmt.Sprint("t/", k)]; !slices.Equal(got, want) || len(want) < writers {
			t.Errorf("key %d: published in the order\n%v, changed in the order\n%v", k, got, want)
		}
	}
	if doubles > 0 {
		t.Errorf("%d doubles although nothing failed", doubles)
	}
}

// Two transactions that wait for each other's keys: one is ended by the database, and says that it can be tried again.
func deadlock(t *testing.T, d database) {
	db := d.open(t)
	s := newStore(t, db, d.dialect, sqlstore.Config{})
	txs := []*sql.Tx{begin(t, db), begin(t, db)}
	for i, tx := range txs {
		if err := s.AddMessages(t.Context(), tx, "t", outboxtest.Message(fmt.Sprint("first", i), fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	results := make(chan error, 2)
	for i, tx := range txs {
		go func() {
			err := s.AddMessages(t.Context(), tx, "t", outboxtest.Message(fmt.Sprint("second", i), fmt.Sprint(1-i)))
			if err == nil {
				err = tx.Commit()
			} else {
				_ = tx.Rollback()
			}
			results <- err
		}()
	}
	a, b := <-results, <-results
	if (a == nil) == (b == nil) || failure.CodeOf(cmpOr(a, b)) != failure.Aborted {
		t.Errorf("%v, %v; want that one is ended with ABORTED", a, b)
	}
	if ids, _ := pendingIDs(t, s); len(ids) != 2 {
		t.Errorf("pending: %v", ids)
	}
}

func cmpOr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// A relay that sleeps is woken at once, also after its connection broke, and finds what nobody told it of; events come through pgx's own
// transactions, too.
func waking(t *testing.T, d database, server *pgtest.Server) {
	proxy := proxytest.New(t, server.Addr)
	through := strings.Replace(d.dsn, server.Addr(), proxy.Addr(), 1)
	db := open(t, "pgx", through)
	s := newStore(t, db, d.dialect, sqlstore.Config{Poll: 10 * time.Second})
	direct := d.open(t)
	other, err := sqlstore.New(direct, d.dialect, sqlstore.Config{}) // of another process: nothing but the database connects them
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), d.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	pub := new(outboxtest.Recorder)
	relay := outbox.New(s, pub, outbox.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- relay.Run(ctx) }()

	asleep := func() {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; pass(10 * time.Millisecond) {
			var is bool
			if err := direct.QueryRowContext(t.Context(), "SELECT asleep FROM holdfast_outbox_relay").Scan(&is); err == nil && is {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the relay does not sleep")
			}
		}
		pass(300 * time.Millisecond) // it has looked once more
	}
	n := 0
	published := func(most time.Duration) {
		t.Helper()
		began := time.Now()
		for n++; len(pub.Taken()) < n; pass(time.Millisecond) {
			if time.Since(began) > most {
				t.Fatalf("%d of %d events after %v", len(pub.Taken()), n, time.Since(began))
			}
		}
	}
	asleep()
	if err := add(t.Context(), direct, other, "t", outboxtest.Message("1", "")); err != nil {
		t.Fatal(err)
	}
	published(2 * time.Second)

	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Add(t.Context(), sqlstore.PGX(tx), "t", "two", queue.ID("2")); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	published(2 * time.Second)

	asleep()
	proxy.Cut()
	pass(100 * time.Millisecond)
	if err := add(t.Context(), direct, other, "t", outboxtest.Message("3", "")); err != nil {
		t.Fatal(err)
	}
	proxy.Restore()
	published(20 * time.Second) // found by looking
	if err := add(t.Context(), direct, other, "t", outboxtest.Message("4", "")); err != nil {
		t.Fatal(err)
	}
	published(20 * time.Second)
	asleep()
	pass(time.Second)
	if err := add(t.Context(), direct, other, "t", outboxtest.Message("5", "")); err != nil {
		t.Fatal(err)
	}
	published(10 * time.Second)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Those who add events of a topic that has to wait are not asked for long to wake the relay, which they do one after the other; a store
// that is told of the end, or of another one's beginning, keeps no connection and no word of the one before.
func wakingInVain(t *testing.T, d database) {
	db := d.open(t)
	s := newStore(t, db, d.dialect, sqlstore.Config{})
	other, err := sqlstore.New(d.open(t), d.dialect, sqlstore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	query := func(statement string) (n int) {
		t.Helper()
		if err := db.QueryRowContext(t.Context(), statement).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	asleep := func() bool {
		t.Helper()
		return query("SELECT asleep::int FROM holdfast_outbox_relay") == 1
	}
	listeners := func() int {
		return query("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()")
	}
	look := func(s *sqlstore.Store) {
		t.Helper()
		events, err := s.Pending(t.Context(), outbox.Query{Limit: 10, MaxBytes: 1 << 20, Skip: outbox.Skip{Topics: []string{"away"}}})
		if err != nil || len(events) > 0 {
			t.Fatalf("%d events, %v", len(events), err)
		}
	}
	wait := func() {
		t.Helper()
		if err := s.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for look(s); !asleep(); look(s) {
		wait()
	}
	n := 0
	for ; asleep() && n < 500; n++ {
		if err := add(t.Context(), db, other, "away", outboxtest.Message(fmt.Sprint(n), "")); err != nil {
			t.Fatal(err)
		}
		wait()
		look(s)
	}
	if n > 100 {
		t.Fatalf("%d events of a topic that waits had to wake the relay", n)
	}
	for range 10 {
		wait()
		look(s)
		if asleep() {
			t.Fatal("it asks to be woken again, although it has found nothing")
		}
	}

	if listeners() != 1 {
		t.Errorf("%d connections listen", listeners())
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Wait(over); err == nil {
		t.Error("Wait with a context that is over")
	}
	for deadline := time.Now().Add(10 * time.Second); listeners() > 0; pass(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a connection listens after the end")
		}
	}

	// Another one died while it slept, and this one is busy from the first.
	execute(t, db, "UPDATE holdfast_outbox_relay SET asleep = true")
	if _, err := other.Pending(t.Context(), outbox.Query{Limit: 100, MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Pending(t.Context(), outbox.Query{Limit: 100, MaxBytes: 1 << 20}); err != nil || asleep() {
		t.Errorf("%v; a relay that is busy has itself woken: %v", err, asleep())
	}
}
