package sqlstore_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/outbox"
	"github.com/holdfast-go/holdfast/queue/outbox/outboxtest"
	"github.com/holdfast-go/holdfast/queue/outbox/sqlstore"
)

// database is one of either kind.
type database struct {
	dialect sqlstore.Dialect
	dsn     string
	open    func(t *testing.T) *sql.DB // another pool each time
}

func sqlite(t *testing.T) database {
	t.Helper()
	dsn := "file:" + filepath.Join(t.TempDir(), "test.db") + "?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=busy_timeout(5000)"
	return database{sqlstore.SQLite, dsn, func(t *testing.T) *sql.DB { return open(t, "sqlite", dsn) }}
}

func open(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func newStore(t *testing.T, db *sql.DB, d sqlstore.Dialect, cfg sqlstore.Config) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.New(db, d, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func execute(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// add adds events in a transaction of their own.
func add(ctx context.Context, db *sql.DB, s *sqlstore.Store, topic string, messages ...*driver.Message) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := s.AddMessages(ctx, tx, topic, messages...); err != nil {
		return err
	}
	return tx.Commit()
}

// conformance runs the suite: each test on tables of its own, which stay.
func conformance(t *testing.T, d database, cfg sqlstore.Config) {
	db := d.open(t)
	n := 0
	outboxtest.Run(t, outboxtest.Config{
		Open: func(t *testing.T) (outbox.Store, func(context.Context, string, ...*driver.Message) error) {
			n++
			cfg.Prefix = cfg.Source + "_" + string(rune('a'+n)) + "_"
			s := newStore(t, db, d.dialect, cfg)
			return s, func(ctx context.Context, topic string, messages ...*driver.Message) error {
				return add(ctx, db, s, topic, messages...)
			}
		},
	})
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	conformance(t, sqlite(t), sqlstore.Config{Source: "gone"})
}

func TestSQLiteThatKeeps(t *testing.T) {
	t.Parallel()
	conformance(t, sqlite(t), sqlstore.Config{Source: "kept", Keep: time.Hour})
}

// An event is there if and only if the transaction was committed, and carries the trace of its ctx.
func transactions(t *testing.T, d database) {
	db := d.open(t)
	s := newStore(t, db, d.dialect, sqlstore.Config{Prefix: "tx_", Source: "orders", MaxMessage: 100})
	execute(t, db, "CREATE TABLE orders (id text)")
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx := queue.TraceContext{}.Extract(t.Context(), func(name string) string {
		if name == "traceparent" {
			return trace
		}
		return ""
	})
	for _, c := range []struct {
		id     string
		commit bool
	}{{"undone", false}, {"done", true}} {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO orders VALUES ($1)", c.id); err != nil {
			t.Fatal(err)
		}
		if err := s.Add(ctx, tx, "orders.placed", map[string]string{"order": c.id}, queue.Key(c.id), queue.ID(c.id), queue.Attribute("tenant", "x")); err != nil {
			t.Fatal(err)
		}
		// What is refused leaves the transaction as it was.
		for _, bad := range []struct {
			topic string
			value any
			opt   queue.PublishOption
		}{{"no topic", "x", nil}, {"t", make([]byte, 101), nil}, {"t", func() {}, nil}, {"t", "x", queue.Key("a\x00")}} {
			opts := []queue.PublishOption{}
			if bad.opt != nil {
				opts = append(opts, bad.opt)
			}
			if err := s.Add(ctx, tx, bad.topic, bad.value, opts...); failure.CodeOf(err) != failure.InvalidArgument {
				t.Errorf("%s, %.20v: %v", bad.topic, bad.value, err)
			}
		}
		end := tx.Rollback
		if c.commit {
			end = tx.Commit
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	events, err := s.Pending(t.Context(), outbox.Query{Limit: 10, MaxBytes: 1000})
	if err != nil || len(events) != 1 {
		t.Fatalf("%d events, %v; want 1", len(events), err)
	}
	m := events[0].Message
	if m.ID != "done" || m.Key != "done" || m.Source != "orders" || m.Type != "orders.placed" || m.ContentType != "application/json" ||
		string(m.Data) != `{"order":"done"}` || m.Attributes["tenant"] != "x" || !strings.HasPrefix(m.Attributes["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-") {
		t.Errorf("%+v", m)
	}
}

func TestTransactionsSQLite(t *testing.T) { transactions(t, sqlite(t)) }

// What nobody would ever take is refused, and leaves the transaction as it was: committed, it would hold up its key for ever.
func TestWhatNobodyWouldTakeIsRefused(t *testing.T) {
	d := sqlite(t)
	db := d.open(t)
	s := newStore(t, db, d.dialect, sqlstore.Config{})
	for name, spoil := range map[string]func(*driver.Message){
		"a key that is not UTF-8":        func(m *driver.Message) { m.Key = "a\xff" },
		"a key with a character 0":       func(m *driver.Message) { m.Key = "a\x00" },
		"a key that is too long":         func(m *driver.Message) { m.Key = strings.Repeat("k", driver.MaxKey+1) },
		"no ID":                          func(m *driver.Message) { m.ID = "" },
		"an ID that is too long":         func(m *driver.Message) { m.ID = strings.Repeat("i", driver.MaxText+1) },
		"no source":                      func(m *driver.Message) { m.Source = "" },
		"an attribute's name":            func(m *driver.Message) { m.Attributes = map[string]string{"Not This": "x"} },
		"an attribute that is not UTF-8": func(m *driver.Message) { m.Attributes = map[string]string{"a": "\xff"} },
		"an attribute that is too long": func(m *driver.Message) {
			m.Attributes = map[string]string{"a": strings.Repeat("x", driver.MaxAttribute+1)}
		},
		"a year":                 func(m *driver.Message) { m.Time = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"data that is too large": func(m *driver.Message) { m.Data = make([]byte, sqlstore.DefaultMaxMessage+1) },
	} {
		m := outboxtest.Message("1", "a")
		spoil(m)
		if err := add(t.Context(), db, s, "t", m); failure.CodeOf(err) != failure.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if l, err := s.Lag(t.Context()); err != nil || l.Pending != 0 {
		t.Errorf("%+v, %v", l, err)
	}
	m := outboxtest.Message("1", "a")
	m.Data = make([]byte, sqlstore.DefaultMaxMessage)
	if err := add(t.Context(), db, s, "t", m); err != nil {
		t.Errorf("the most that is taken: %v", err)
	}
}

// Many instances that start at once make the tables once, and none fails; a script makes the same ones.
func migrations(t *testing.T, d database) {
	var wg sync.WaitGroup
	for range 6 {
		db := d.open(t)
		wg.Go(func() {
			s, err := sqlstore.New(db, d.dialect, sqlstore.Config{Prefix: "many_"})
			if err == nil {
				err = s.Migrate(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	db := d.open(t)
	var noted, rows int
	if err := db.QueryRowContext(t.Context(), "SELECT (SELECT count(*) FROM many_outbox_schema), (SELECT count(*) FROM many_outbox_relay)").Scan(&noted, &rows); err != nil || noted != 1 || rows != 1 {
		t.Errorf("%d migrations noted, %d rows of the relay, %v; want 1 of each", noted, rows, err)
	}
	script, err := sqlstore.Schema(d.dialect, "own_")
	if err != nil {
		t.Fatal(err)
	}
	for s := range strings.SplitSeq(script, ";\n") {
		if s = strings.TrimSpace(s); s != "" && s != "BEGIN" && s != "COMMIT" {
			execute(t, db, s)
		}
	}
	s := newStore(t, db, d.dialect, sqlstore.Config{Prefix: "own_"})
	if err := add(t.Context(), db, s, "t", outboxtest.Message("1", "")); err != nil {
		t.Errorf("with tables made by hand: %v", err)
	}
	missing, err := sqlstore.New(db, d.dialect, sqlstore.Config{Prefix: "missing_"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := missing.Pending(t.Context(), outbox.Query{Limit: 1, MaxBytes: 1}); failure.CodeOf(err) != failure.FailedPrecondition || !strings.Contains(err.Error(), "Migrate") {
		t.Errorf("without tables: %v", err)
	}
	// A schema of a later version is left alone.
	execute(t, db, "INSERT INTO own_outbox_schema (version, name) VALUES (1000, 'later')")
	if err := s.Migrate(t.Context()); err != nil {
		t.Errorf("with a newer schema: %v", err)
	}
}

func TestMigrationsSQLite(t *testing.T) { migrations(t, sqlite(t)) }

// What is published is kept for as long as it is to be, and removed in small batches then.
func cleaning(t *testing.T, d database) {
	db := d.open(t)
	kept := newStore(t, db, d.dialect, sqlstore.Config{Prefix: "clean_", Keep: time.Hour})
	for i := range 7 {
		if err := add(t.Context(), db, kept, "t", outboxtest.Message(string(rune('a'+i)), "")); err != nil {
			t.Fatal(err)
		}
	}
	events, err := kept.Pending(t.Context(), outbox.Query{Limit: 5, MaxBytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var seqs []uint64
	for _, e := range events {
		seqs = append(seqs, e.Seq)
	}
	if err := kept.Done(t.Context(), seqs); err != nil {
		t.Fatal(err)
	}
	if n, err := kept.Clean(t.Context(), 100); n != 0 || err != nil {
		t.Errorf("%d removed before their time, %v", n, err)
	}
	short := newStore(t, db, d.dialect, sqlstore.Config{Prefix: "clean_", Keep: time.Microsecond})
	time.Sleep(time.Millisecond) //nolint:forbidigo // of the database's clock
	for _, want := range []int{3, 2, 0} {
		if n, err := short.Clean(t.Context(), 3); n != want || err != nil {
			t.Errorf("%d removed, %v; want %d", n, err, want)
		}
	}
	if l, err := short.Lag(t.Context()); err != nil || l.Pending != 2 {
		t.Errorf("%+v, %v; what is pending must not be cleaned", l, err)
	}
}

func TestCleaningSQLite(t *testing.T) { cleaning(t, sqlite(t)) }

// One leads at a time; a clean end hands over soon, an end without a word after the lease.
func leading(t *testing.T, d database) {
	a := newStore(t, d.open(t), d.dialect, sqlstore.Config{Prefix: "lead_", Lease: 5 * time.Second})
	b := newStore(t, d.open(t), d.dialect, sqlstore.Config{Prefix: "lead_", Lease: 5 * time.Second})
	var mu sync.Mutex
	leads := 0
	lead := func(s *sqlstore.Store, ctx context.Context, began chan<- struct{}, end <-chan struct{}) error {
		return s.Lead(ctx, func(ctx context.Context) error {
			mu.Lock()
			leads++
			if leads > 1 {
				t.Error("two lead at once")
			}
			mu.Unlock()
			close(began)
			select {
			case <-end:
			case <-ctx.Done():
			}
			mu.Lock()
			leads--
			mu.Unlock()
			return context.Cause(ctx)
		})
	}
	ctx := t.Context()
	beganA, endA, beganB, endB := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	doneA, doneB := make(chan error, 1), make(chan error, 1)
	go func() { doneA <- lead(a, ctx, beganA, endA) }()
	<-beganA
	go func() { doneB <- lead(b, ctx, beganB, endB) }()
	select {
	case <-beganB:
		t.Error("another leads")
	case <-time.After(5500 * time.Millisecond): // longer than the lease: it is renewed
	}
	close(endA)
	if err := <-doneA; err != nil {
		t.Error(err)
	}
	<-beganB
	// The row is taken away from under b: it notices.
	execute(t, d.open(t), "UPDATE lead_outbox_relay SET holder = 'somebody else'")
	if err := <-doneB; failure.CodeOf(err) != failure.Aborted {
		t.Errorf("%v of a leader whose lease somebody else has", err)
	}
	// Nobody gives that lease back: it ends by itself.
	ended, end := make(chan struct{}), make(chan struct{})
	close(end)
	if err := lead(a, ctx, ended, end); err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	execute(t, d.open(t), "UPDATE lead_outbox_relay SET holder = 'x', until = $1", moment(d, time.Now().Add(30*time.Second)))
	if err := a.Lead(short, func(context.Context) error { t.Error("two lead at once"); return nil }); failure.CodeOf(err) != failure.DeadlineExceeded {
		t.Errorf("%v while somebody else leads", err)
	}
}

// A relay whose marks are late, because the database failed over and lost its last transactions, does not take for published what
// got one of their numbers since.
func numbersAgain(t *testing.T, d database) {
	db := d.open(t)
	for prefix, keep := range map[string]time.Duration{"gone_": 0, "kept_": time.Hour} {
		s := newStore(t, db, d.dialect, sqlstore.Config{Prefix: prefix, Keep: keep})
		failed := make(chan struct{})
		var once sync.Once
		pub := &outboxtest.Recorder{After: func(context.Context, string) error {
			once.Do(func() { // between the confirmation and the mark
				restart := "UPDATE sqlite_sequence SET seq = 0 WHERE name = '" + prefix + "outbox'"
				if d.dialect == sqlstore.PostgreSQL {
					restart = "ALTER TABLE " + prefix + "outbox ALTER COLUMN seq RESTART"
				}
				for _, statement := range []string{"DELETE FROM " + prefix + "outbox", restart} {
					if _, err := db.ExecContext(t.Context(), statement); err != nil {
						t.Error(err)
					}
				}
				if err := add(t.Context(), db, s, "u", outboxtest.Message("new", "")); err != nil {
					t.Error(err)
				}
				close(failed)
			})
			return nil
		}}
		if err := add(t.Context(), db, s, "t", outboxtest.Message("old", "")); err != nil {
			t.Fatal(err)
		}
		before, err := s.Pending(t.Context(), outbox.Query{Limit: 10, MaxBytes: 1000})
		if err != nil || len(before) != 1 {
			t.Fatalf("%d events, %v", len(before), err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- outbox.New(s, pub, outbox.Config{}).Run(ctx) }()
		<-failed
		stop() // it publishes what there is
		if err := <-done; err != nil {
			t.Error(err)
		}
		var ids []string
		for _, m := range pub.Taken() {
			ids = append(ids, m.ID)
		}
		if got := strings.Join(ids, " "); got != "old new" {
			t.Errorf("%s: published: %s", prefix, got)
		}
		var last uint64
		if err := db.QueryRowContext(t.Context(), "SELECT coalesce(max(seq), 0) FROM "+prefix+"outbox_done").Scan(&last); err != nil || keep > 0 && last != before[0].Seq {
			t.Errorf("%s: number %d, %v; it was to get that of the old one", prefix, last, err)
		}
	}
}

func TestNumbersThatAreGivenOutAgainSQLite(t *testing.T) { numbersAgain(t, sqlite(t)) }

// One that is kept, from before the numbers began anew, does not keep the one that has its number now from being marked: the relay
// would stand still.
func numbersKept(t *testing.T, d database) {
	db := d.open(t)
	s := newStore(t, db, d.dialect, sqlstore.Config{Prefix: "again_", Keep: time.Hour})
	for _, id := range []string{"old", "new"} {
		if err := add(t.Context(), db, s, "t", outboxtest.Message(id, "")); err != nil {
			t.Fatal(err)
		}
		events, err := s.Pending(t.Context(), outbox.Query{Limit: 10, MaxBytes: 1000})
		if err != nil || len(events) != 1 {
			t.Fatalf("%s: %d events, %v", id, len(events), err)
		}
		if err := s.Mark(t.Context(), []outbox.Mark{{Seq: events[0].Seq, ID: id}}); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		if d.dialect == sqlstore.PostgreSQL {
			execute(t, db, "ALTER TABLE again_outbox ALTER COLUMN seq RESTART")
		} else {
			execute(t, db, "UPDATE sqlite_sequence SET seq = 0 WHERE name = 'again_outbox'")
		}
	}
	if l, err := s.Lag(t.Context()); err != nil || l.Pending != 0 {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestNumbersThatAreKeptSQLite(t *testing.T) { numbersKept(t, sqlite(t)) }

// moment is a time as the database has it.
func moment(d database, at time.Time) any {
	if d.dialect == sqlstore.SQLite {
		return at.UnixMicro()
	}
	return at
}

// The lease of a relay that died before the clock of the database went back by an hour does not last for that hour.
func clockBack(t *testing.T, d database) {
	const lease = time.Second
	db := d.open(t)
	s := newStore(t, db, d.dialect, sqlstore.Config{Prefix: "back_", Lease: lease})
	execute(t, db, "UPDATE back_outbox_relay SET holder = 'dead', until = $1", moment(d, time.Now().Add(time.Hour)))
	ctx, cancel := context.WithTimeout(t.Context(), 3*lease)
	defer cancel()
	led := false
	if err := s.Lead(ctx, func(context.Context) error { led = true; return nil }); err != nil || !led {
		t.Errorf("%v; nobody leads", err)
	}
}

func TestClockThatWentBackSQLite(t *testing.T) {
	t.Parallel()
	clockBack(t, sqlite(t))
}

func TestLeadingSQLite(t *testing.T) {
	t.Parallel()
	leading(t, sqlite(t))
}
