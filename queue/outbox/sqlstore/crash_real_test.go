//go:build real && unix

package sqlstore_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/outbox"
	"github.com/holdfast-go/holdfast/queue/outbox/outboxtest"
	"github.com/holdfast-go/holdfast/queue/outbox/sqlstore"
)

const childEnv = "SQLSTORE_TEST_RELAY"

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		if err := child(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// relaySpec is what a process that runs a relay is told.
type relaySpec struct {
	Dialect     sqlstore.Dialect
	Driver, DSN string
	File        string // where it publishes to
}

// child runs a relay until the process ends.
func child(spec string) error {
	var s relaySpec
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		return err
	}
	db, err := sql.Open(s.Driver, s.DSN)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(s.File, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	store, err := sqlstore.New(db, s.Dialect, sqlstore.Config{Lease: time.Second})
	if err != nil {
		return err
	}
	return outbox.New(store, publisher{file}, outbox.Config{Batch: 20, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}).Run(context.Background())
}

// publisher is a queue of lines: what was written is confirmed.
type publisher struct{ file *os.File }

func (p publisher) PublishMessages(ctx context.Context, topic string, messages []*driver.Message) []error {
	errs := make([]error, len(messages))
	for i, m := range messages {
		if errs[i] = ctx.Err(); errs[i] == nil {
			_, errs[i] = fmt.Fprintf(p.file, "%s\t%s\t%s\t%d\n", topic, m.Key, m.ID, os.Getpid())
		}
		pass(200 * time.Microsecond) // for something to happen in between
	}
	pass(3 * time.Millisecond)
	return errs
}

// relayProcess is a child that can be killed and stopped.
type relayProcess struct {
	cmd *exec.Cmd
}

func startRelay(t *testing.T, spec relaySpec) *relayProcess {
	t.Helper()
	b, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(b))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &relayProcess{cmd}
}

func (p *relayProcess) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Error(err)
	}
}

func (p *relayProcess) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// Two processes run relays and are killed and stopped, also in the middle of publishing and between publishing and marking, for
// longer than the lease: nothing is lost, events that come twice have the same ID, first deliveries keep their order.
func TestRealRelaysKilledAndFrozen(t *testing.T) {
	t.Run("postgresql", func(t *testing.T) {
		d := postgresql(start(t).URL(""))
		killAndFreeze(t, d, relaySpec{Dialect: d.dialect, Driver: "pgx", DSN: d.dsn})
	})
	t.Run("sqlite", func(t *testing.T) {
		d := sqlite(t)
		killAndFreeze(t, d, relaySpec{Dialect: d.dialect, Driver: "sqlite", DSN: d.dsn})
	})
}

func killAndFreeze(t *testing.T, d database, spec relaySpec) {
	spec.File = filepath.Join(t.TempDir(), "published")
	db := d.open(t)
	store := newStore(t, db, d.dialect, sqlstore.Config{})
	relays := []*relayProcess{startRelay(t, spec), startRelay(t, spec)}
	defer func() {
		for _, r := range relays {
			r.kill()
		}
	}()
	keys := []string{"a", "b", "c", "d"}
	var counts [4]int
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for k, key := range keys {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				if err := add(t.Context(), db, store, "t", outboxtest.Message(fmt.Sprintf("%s-%04d", key, counts[k]), key)); err != nil {
					t.Error(err)
					return
				}
				counts[k]++
			}
		})
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	const rounds = 6
	for i := range rounds {
		pass(time.Duration(300+rnd.IntN(900)) * time.Millisecond)
		n := leader(t, spec.File, relays)
		if i%2 == 0 {
			relays[n].kill()
			relays[n] = startRelay(t, spec)
			continue
		}
		relays[n].signal(t, syscall.SIGSTOP)
		pass(2500 * time.Millisecond)
		relays[n].signal(t, syscall.SIGCONT)
	}
	close(stop)
	wg.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	for deadline := time.Now().Add(30 * time.Second); ; pass(20 * time.Millisecond) {
		l, err := store.Lag(t.Context())
		if err == nil && l.Pending == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d events are pending, %v", l.Pending, err)
		}
	}
	pub := published(t, spec.File)
	for k, key := range keys {
		for _, wrong := range pub.Ordered("t", []string{key}, counts[k]) {
			t.Error(wrong)
		}
	}
	_, doubles := pub.First()
	t.Logf("%d events, %d published again with the same ID after %d kills and %d freezes", total, doubles, rounds/2, rounds/2)
	if doubles > rounds*20 {
		t.Errorf("%d doubles, want at most a batch for each kill and freeze", doubles)
	}
}

// lines are those of the file, but for one that is being written.
func lines(t *testing.T, file string) (out [][]string) {
	t.Helper()
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if fields := strings.Split(s.Text(), "\t"); len(fields) == 4 {
			out = append(out, fields)
		}
	}
	return out
}

// leader returns which of the relays published last.
func leader(t *testing.T, file string, relays []*relayProcess) int {
	t.Helper()
	all := lines(t, file)
	for i, r := range relays {
		if len(all) > 0 && all[len(all)-1][3] == fmt.Sprint(r.cmd.Process.Pid) {
			return i
		}
	}
	return 0
}

func published(t *testing.T, file string) *outboxtest.Recorder {
	t.Helper()
	pub := new(outboxtest.Recorder)
	for _, l := range lines(t, file) {
		pub.PublishMessages(context.Background(), l[0], []*driver.Message{outboxtest.Message(l[2], l[1])})
	}
	return pub
}

// The database is killed again and again while events are added and marked: what is published is what was committed, no more and no
// less, in order.
func TestRealDatabaseKilled(t *testing.T) {
	server := start(t)
	d := postgresql(server.URL(""))
	db := d.open(t)
	execute(t, db, "CREATE TABLE orders (id text PRIMARY KEY)")
	store := newStore(t, db, d.dialect, sqlstore.Config{Lease: time.Second})
	pub := new(outboxtest.Recorder)
	relay := outbox.New(store, pub, outbox.Config{Batch: 10, StoreTimeout: 2 * time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- relay.Run(ctx) }()

	stop := make(chan struct{})
	var failed, acknowledged atomic.Int64
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			key := fmt.Sprint("k", k)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				id := fmt.Sprintf("%s-%06d", key, i)
				call, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				err := order(call, db, store, id, key)
				cancel()
				if err != nil {
					failed.Add(1)
				} else {
					acknowledged.Add(1)
				}
			}
		})
	}
	const kills = 8
	rnd := rand.New(rand.NewPCG(3, 4))
	for range kills {
		pass(time.Duration(200+rnd.IntN(500)) * time.Millisecond)
		server.Kill()
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	pass(200 * time.Millisecond)
	close(stop)
	wg.Wait()
	for deadline := time.Now().Add(30 * time.Second); ; pass(20 * time.Millisecond) {
		l, err := store.Lag(t.Context())
		if err == nil && l.Pending == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d events are pending, %v; %+v", l.Pending, err, relay.Status())
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	rows, err := db.QueryContext(t.Context(), "SELECT id FROM orders ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	want := map[string][]string{}
	committed := 0
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		key, _, _ := strings.Cut(id, "-")
		want["t/"+key] = append(want["t/"+key], id)
		committed++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	first, doubles := pub.First()
	for key, ids := range want {
		if fmt.Sprint(first[key]) != fmt.Sprint(ids) {
			t.Errorf("%s: published are %d events, committed %d, or not in this order", key, len(first[key]), len(ids))
		}
	}
	t.Logf("%d kills: %d transactions acknowledged, %d committed, %d failed or not answered; %d events published again", kills, acknowledged.Load(), committed, failed.Load(), doubles)
	if committed < int(acknowledged.Load()) || failed.Load() == 0 {
		t.Errorf("%d committed, %d acknowledged, %d failed", committed, acknowledged.Load(), failed.Load())
	}
}

// order changes a row and tells of it.
func order(ctx context.Context, db *sql.DB, store *sqlstore.Store, id, key string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders VALUES ($1)", id); err != nil {
		return err
	}
	if err := store.AddMessages(ctx, tx, "t", outboxtest.Message(id, key)); err != nil {
		return err
	}
	return tx.Commit()
}
