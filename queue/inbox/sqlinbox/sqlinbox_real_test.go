//go:build real && unix

package sqlinbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/pgtest"
	"github.com/holdfast-go/holdfast/internal/proxytest"
	"github.com/holdfast-go/holdfast/queue/inbox"
	"github.com/holdfast-go/holdfast/queue/inbox/sqlinbox"
)

func postgresql(t *testing.T) (database, *pgtest.Server) {
	t.Helper()
	s, err := pgtest.Start(t.Context(), pgtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return database{sqlinbox.PostgreSQL, func(t *testing.T) *sql.DB { return open(t, "pgx", s.URL("")) }}, s
}

func TestRealPostgreSQL(t *testing.T) {
	d, _ := postgresql(t)
	t.Run("suite", func(t *testing.T) { conformance(t, d) })
	t.Run("migrations", func(t *testing.T) { migrations(t, d) })
	t.Run("under way", func(t *testing.T) { underWay(t, d) })
	t.Run("isolation", func(t *testing.T) {
		db := d.open(t)
		exec(t, db, "CREATE TABLE once (n int)")
		in := newInbox(t, db, d.dialect, sqlinbox.Config{Isolation: sql.LevelSerializable, MaxWait: 10 * time.Second})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for {
					err := in.Once(t.Context(), "t/g", "serializable", func(ctx context.Context) error {
						tx, _ := sqlinbox.Tx(ctx)
						_, err := tx.ExecContext(ctx, "INSERT INTO once VALUES (1)")
						return err
					})
					if failure.CodeOf(err) == failure.Aborted || failure.CodeOf(err) == failure.Unavailable {
						continue
					}
					if err != nil {
						t.Error(err)
					}
					return
				}
			})
		}
		wg.Wait()
		var n int
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM once").Scan(&n); err != nil || n != 1 {
			t.Errorf("%d effects, %v", n, err)
		}
	})
}

// A process that is frozen, or cut off without a word, in the middle of a message keeps others from it for little longer than
// its handler's time, although its connection lives.
func TestRealFrozenInTheMiddle(t *testing.T) {
	d, server := postgresql(t)
	db := d.open(t)
	exec(t, db, "CREATE TABLE effects (id text NOT NULL)")
	other := newInbox(t, db, d.dialect, sqlinbox.Config{MaxWait: -1})
	proxy := proxytest.New(t, server.Addr)
	frozen, err := sqlinbox.New(open(t, "pgx", server.URL(proxy.Addr())), d.dialect, sqlinbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	effect := func(ctx context.Context) error {
		tx, _ := sqlinbox.Tx(ctx)
		_, err := tx.ExecContext(ctx, "INSERT INTO effects VALUES ('1')")
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err = frozen.Once(ctx, "t/g", "1", func(ctx context.Context) error {
		if err := effect(ctx); err != nil {
			return err
		}
		proxy.Freeze()
		<-ctx.Done()
		return ctx.Err()
	})
	if err == nil {
		t.Error("handled to the end")
	}
	end := time.Now()
	for {
		err := other.Once(t.Context(), "t/g", "1", effect)
		if err == nil {
			break
		}
		if !errors.Is(err, inbox.ErrUnderWay) || time.Since(end) > 15*time.Second {
			t.Fatalf("after %v: %v", time.Since(end), err)
		}
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // between attempts
	}
	t.Logf("handled by the other one %v after the end of the handler's time", time.Since(end))
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM effects").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d effects, %v", n, err)
	}
	// It is that of the transaction, not of the session, and without a deadline that of the database.
	var during, after string
	db.SetMaxOpenConns(1)
	if err := other.Once(t.Context(), "t/g", "2", func(ctx context.Context) error {
		tx, _ := sqlinbox.Tx(ctx)
		return tx.QueryRowContext(ctx, "SHOW idle_in_transaction_session_timeout").Scan(&during)
	}); err != nil || during != "0" {
		t.Errorf("without a deadline %q, %v", during, err)
	}
	timed, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := other.Once(timed, "t/g", "3", func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
	if err := db.QueryRowContext(t.Context(), "SHOW idle_in_transaction_session_timeout").Scan(&after); err != nil || after != "0" {
		t.Errorf("afterwards %q, %v", after, err)
	}
}

// The database is killed again and again while messages are delivered by two instances, each several times: every message has
// its effect once, and the marks are those of the effects.
func TestRealDatabaseKilled(t *testing.T) {
	d, server := postgresql(t)
	db := d.open(t)
	exec(t, db, "CREATE TABLE effects (id text NOT NULL)")
	instances := []*sqlinbox.Inbox{newInbox(t, db, d.dialect, sqlinbox.Config{}), newInbox(t, d.open(t), d.dialect, sqlinbox.Config{})}
	const messages, copies = 600, 3
	deliveries := make(chan int, messages*copies)
	for range copies {
		for m := range messages {
			deliveries <- m
		}
	}
	close(deliveries)
	var failed, ran atomic.Int64
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for m := range deliveries {
				for {
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					err := instances[w%2].Once(ctx, "t/g", fmt.Sprint(m), func(ctx context.Context) error {
						ran.Add(1)
						tx, _ := sqlinbox.Tx(ctx)
						_, err := tx.ExecContext(ctx, "INSERT INTO effects SELECT $1 FROM pg_sleep(0.02)", fmt.Sprint(m))
						return err
					})
					cancel()
					if err == nil {
						break
					}
					failed.Add(1)
					if t.Context().Err() != nil {
						return
					}
					time.Sleep(10 * time.Millisecond) //nolint:forbidigo // between attempts
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	kills := 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(200 * time.Millisecond):
			server.Kill()
			kills++
			if err := server.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	var effects, distinct, marks int
	row := db.QueryRowContext(t.Context(), "SELECT count(*), count(DISTINCT id), (SELECT count(*) FROM holdfast_inbox) FROM effects")
	for err := row.Scan(&effects, &distinct, &marks); err != nil; err = row.Scan(&effects, &distinct, &marks) {
		if errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		row = db.QueryRowContext(t.Context(), "SELECT count(*), count(DISTINCT id), (SELECT count(*) FROM holdfast_inbox) FROM effects")
	}
	t.Logf("%d kills, %d deliveries, handlers began %d times, %d attempts failed", kills, messages*copies, ran.Load(), failed.Load())
	if effects != messages || distinct != messages || marks != messages {
		t.Errorf("%d effects of %d messages and %d marks, want %d of each", effects, distinct, marks, messages)
	}
	if kills < 2 || failed.Load() == 0 {
		t.Errorf("%d kills, %d attempts failed: nothing was shown", kills, failed.Load())
	}
}
