// Command outbox measures how many events go through a transactional outbox: from transactions that change a row and add an
// event, through the relay, into a queue that has confirmed them.
//
//	go run ./bench/outbox                         # PostgreSQL and SQLite, into NATS and into memory
//	go run ./bench/outbox -only postgresql-nats
//
// The database is a PostgreSQL of this machine, in processes of its own and with its defaults as far as durability goes (every
// commit is on disk), or a SQLite file in WAL mode with synchronous=FULL; NATS is one member as `holdfast up` runs it,
// which writes to disk, too, before it confirms, or as its makers' default is (unsynced).
//
// First, transactions without and with an event, in turns: what adding costs. The relay works meanwhile, so that what is published
// at the end of a turn is what it keeps up with. Then a pace that leaves the machine time to breathe: how long an
// event takes. Then a backlog, which was added while no relay ran: how fast the relay alone is.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/broker"
	"github.com/holdfast-go/holdfast/bench/internal/trial"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/outbox"
	"github.com/holdfast-go/holdfast/queue/outbox/sqlstore"
)

const (
	topic = "orders.placed"
	keys  = 1000
	// turns is how often each kind of transaction has its turn.
	turns = 3
)

// The figures that are 0, or something is wrong with more than the speed.
const (
	lost     = "events that were committed and not published"
	invented = "events that were published and not committed"
	doubles  = "events that were published twice"
)

var program = trial.Trial{
	Name:  "outbox",
	About: "transactions that change a row and add an event of 200 bytes, and a relay that publishes the events",
	Cases: []string{"postgresql-memory", "postgresql-nats-unsynced", "postgresql-nats", "sqlite-nats"},
	Run:   run,
}

func main() {
	broker.Child()
	trial.Main(program)
}

// bench is one run.
type bench struct {
	r     *trial.Run
	db    *database
	store *sqlstore.Store
	q     *queue.Queue
	next  atomic.Int64 // of the events
	pub   counter

	mu    sync.Mutex
	added map[string]bool // the IDs of events whose transactions were committed
}

func (b *bench) commit(ids ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		b.added[id] = true
	}
}

func (b *bench) committed() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.added)
}

// missing returns how many of want are not in got.
func missing(want, got map[string]bool) (n int) {
	for id := range want {
		if !got[id] {
			n++
		}
	}
	return n
}

// counter is the relay's publisher: it counts what the queue has confirmed.
type counter struct {
	q *queue.Queue

	mu        sync.Mutex
	confirmed int
	seen      map[string]bool
	doubles   int
	took      []time.Duration // nil: not wanted
	within    time.Duration   // the queue's part of the time
}

// PublishMessages implements outbox.Publisher.
func (c *counter) PublishMessages(ctx context.Context, topic string, messages []*driver.Message) []error {
	begun := time.Now()
	errs := c.q.PublishMessages(ctx, topic, messages)
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.within += now.Sub(begun)
	for i, m := range messages {
		if errs != nil && errs[i] != nil {
			continue
		}
		if c.seen[m.ID] {
			c.doubles++
			continue
		}
		c.seen[m.ID] = true
		c.confirmed++
		if c.took != nil {
			c.took = append(c.took, now.Sub(m.Time))
		}
	}
	return errs
}

func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.confirmed
}

func run(ctx context.Context, r *trial.Run) (err error) {
	dir, err := os.MkdirTemp("", "holdfast-outbox-")
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // in the temporary directory
	engine, queueing, _ := strings.Cut(r.Case, "-")
	cfg := broker.Config{Kind: broker.NATS, Dir: dir, NoSync: queueing == "nats-unsynced"}
	if queueing == "memory" {
		cfg.Kind = broker.Memory
	}
	db, err := open(ctx, engine, filepath.Join(dir, "sqlite.db"))
	if err != nil {
		return err
	}
	defer db.close()
	brk, err := broker.Start(ctx, cfg)
	if err != nil {
		return fmt.Errorf("start %s: %w", cfg.Kind, err)
	}
	defer brk.Close()
	e, err := brk.Open("bench")
	if err != nil {
		return fmt.Errorf("open %s: %w", cfg.Kind, err)
	}
	defer e.Close() //nolint:errcheck // the run is over
	b := &bench{r: r, db: db, q: queue.New(e, queue.Config{Source: "bench"}), added: make(map[string]bool)}
	defer b.q.Close() //nolint:errcheck // returns nil
	b.pub = counter{q: b.q, seen: make(map[string]bool)}
	if b.store, err = sqlstore.New(db.DB, db.dialect, sqlstore.Config{Source: "bench"}); err != nil {
		return err
	}
	if err := b.store.Migrate(ctx); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "CREATE TABLE orders (id bigint PRIMARY KEY, note text NOT NULL)"); err != nil {
		return fmt.Errorf("create table: %w", err)
	}
	if err := b.measure(ctx); err != nil {
		return err
	}
	r.Add(lost, float64(missing(b.added, b.pub.seen)), trial.Count, trial.AtMost(0).Always())
	r.Add(invented, float64(missing(b.pub.seen, b.added)), trial.Count, trial.AtMost(0).Always())
	r.Add(doubles, float64(b.pub.doubles), trial.Count, trial.AtMost(0).Always())
	return nil
}

func (b *bench) measure(ctx context.Context) error {
	stop := b.relay(ctx)
	defer func() { _ = stop() }() // a second time it does nothing
	turn := b.r.Long(4*time.Second, 300*time.Millisecond)
	var plain, with, published []float64
	for range turns {
		n, took, err := b.write(ctx, turn, 0, false)
		if err != nil {
			return err
		}
		plain = append(plain, float64(n)/took.Seconds())
		before := b.pub.count()
		if n, took, err = b.write(ctx, turn, 0, true); err != nil {
			return err
		}
		with = append(with, float64(n)/took.Seconds())
		published = append(published, float64(b.pub.count()-before)/took.Seconds())
		if err := b.empty(ctx); err != nil {
			return err
		}
	}
	b.pub.mu.Lock()
	b.pub.took = make([]time.Duration, 0, 1<<16)
	b.pub.mu.Unlock()
	if _, _, err := b.write(ctx, turn, 200, true); err != nil {
		return err
	}
	if err := b.empty(ctx); err != nil {
		return err
	}
	b.pub.mu.Lock()
	took := b.pub.took
	b.pub.took = nil
	b.pub.mu.Unlock()
	slices.Sort(took)
	if err := stop(); err != nil {
		return err
	}
	drained, share, err := b.backlog(ctx)
	if err != nil {
		return err
	}

	// Where each message is on the disk of a queue before it is confirmed, that disk decides how many there are a second. What can be
	// promised is that it is not the relay that one waits for.
	fast, waits := trial.AtLeast(2000), trial.Promise{}
	if b.r.Case == "postgresql-nats" || b.r.Case == "sqlite-nats" {
		fast, waits = waits, trial.AtLeast(0.8)
	}
	b.r.Add("backlog published by the relay", drained, trial.PerSec, fast)
	b.r.Add("  of that time in the queue", share, trial.Share, waits)
	b.r.Add("transactions with an event, by 16 writers", median(with), trial.PerSec, trial.Promise{})
	b.r.Add("  published meanwhile", median(published), trial.PerSec, trial.Promise{})
	b.r.Add("transactions without", median(plain), trial.PerSec, trial.Promise{})
	b.r.Add("  with, of without", median(with)/median(plain), trial.Times, trial.Promise{})
	b.r.Add("from Add to confirmed at 200/s, median", millis(took, 50), trial.Millis, trial.Promise{})
	b.r.Add("from Add to confirmed at 200/s, 99 %", millis(took, 99), trial.Millis, trial.Promise{})
	return nil
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func millis(sorted []time.Duration, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(len(sorted)-1, len(sorted)*percent/100)]) / float64(time.Millisecond)
}

// relay runs a relay until the function that it returns is called.
func (b *bench) relay(ctx context.Context) (stop func() error) {
	relay := outbox.New(b.store, &b.pub, outbox.Config{})
	running, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- relay.Run(running) }()
	return sync.OnceValue(func() error {
		cancel()
		return <-done
	})
}

// write has 16 writers make transactions for a while, at a pace per second if that is not 0, and says how many there were.
func (b *bench) write(ctx context.Context, d time.Duration, pace int, event bool) (int, time.Duration, error) {
	const writers = 16
	begun := time.Now()
	var n atomic.Int64
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := 0; time.Since(begun) < d && ctx.Err() == nil; i++ {
				if pace > 0 {
					time.Sleep(time.Until(begun.Add(time.Duration(i*writers+w) * time.Second / time.Duration(pace))))
				}
				if err := b.transaction(ctx, event); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return int(n.Load()), time.Since(begun), errors.Join(errs...)
}

// placed is the value of an event.
type placed struct {
	Order int64  `json:"order"`
	Note  string `json:"note"`
}

var note = string(slices.Repeat([]byte("x"), 150))

func (b *bench) transaction(ctx context.Context, event bool) error {
	id := b.next.Add(1)
	name := fmt.Sprint("one-", id)
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to do
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders VALUES ($1, $2)", id, note); err != nil {
		return fmt.Errorf("insert: %w", err)
	}
	if event {
		if err := b.store.Add(ctx, tx, topic, placed{id, note}, queue.Key(fmt.Sprint(id%keys)), queue.ID(name)); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if event {
		b.commit(name)
	}
	return nil
}

// empty waits until all that was added is published.
func (b *bench) empty(ctx context.Context) error {
	deadline := time.Now().Add(time.Minute)
	for b.pub.count() < b.committed() {
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%d of %d events were published: %w", b.pub.count(), b.committed(), context.DeadlineExceeded)
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// backlog adds events while no relay runs, and says how many a second it publishes then, and which share of the time the queue takes
// to confirm them.
func (b *bench) backlog(ctx context.Context) (perSecond, share float64, err error) {
	total, each := 20_000, 500
	if b.r.Short {
		total = 1000
	}
	for n := 0; n < total; n += each {
		if err := b.many(ctx, n, each); err != nil {
			return 0, 0, err
		}
	}
	b.pub.within = 0 // nobody publishes
	stop := b.relay(ctx)
	begun := time.Now()
	err = b.empty(ctx)
	took := time.Since(begun)
	err = errors.Join(err, stop())
	return float64(total) / took.Seconds(), b.pub.within.Seconds() / took.Seconds(), err
}

// many adds n events in one transaction.
func (b *bench) many(ctx context.Context, first, n int) error {
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to do
	names := make([]string, n)
	for i := range n {
		id := int64(first + i)
		names[i] = fmt.Sprint("backlog-", id)
		if err := b.store.Add(ctx, tx, topic, placed{id, note}, queue.Key(fmt.Sprint(id%keys)), queue.ID(names[i])); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	b.commit(names...)
	return nil
}
