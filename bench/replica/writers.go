package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/holdfast-go/holdfast/bench/replica/kvbenchpb"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/staticregistry"
	"github.com/holdfast-go/holdfast/rpc"
)

// writerCount is how many clients write while leaders are killed.
const writerCount = 64

// attemptTimeout is what the caller of etcd gives an attempt before it makes another: a proposal that was forwarded to a
// leader that died is lost, and only this ends it.
const attemptTimeout = 300 * time.Millisecond

// writer is a client of all members at once. once is the write's name.
type writer interface {
	write(ctx context.Context, key, value, once string) error
	// version returns how often the key was written.
	version(ctx context.Context, key string) (uint64, error)
	close()
}

// newWriter returns a client of an engine's members as its users have it: Holdfast's with all defaults, etcd's with attempts.
func newWriter(c *cluster) (writer, error) {
	if c.engine == etcd {
		var addrs []string
		for _, p := range c.processes {
			addrs = append(addrs, p.spec.Addr)
		}
		client, err := clientv3.New(clientv3.Config{Endpoints: addrs, DialTimeout: timeout, Logger: zap.NewNop()})
		if err != nil {
			return nil, fmt.Errorf("dial: %w", err)
		}
		return &etcdWriter{client}, nil
	}
	var instances []registry.Instance
	for _, p := range c.processes {
		instances = append(instances, registry.Instance{ID: p.spec.Name, Endpoints: map[string]string{"grpc": p.spec.Addr}})
	}
	driver := staticregistry.New(map[string][]registry.Instance{"bench": instances})
	reg := registry.New(driver, registry.Config{Logger: slog.New(slog.DiscardHandler)})
	client, err := rpc.Dial(reg, "bench", rpc.ClientConfig{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, errors.Join(err, reg.Close(), driver.Close())
	}
	closeAll := func() { _ = errors.Join(client.Close(), reg.Close(), driver.Close()) }
	return &holdfastWriter{kvbenchpb.NewMapClient(client), closeAll}, nil
}

type holdfastWriter struct {
	client   kvbenchpb.MapClient
	closeAll func()
}

func (w *holdfastWriter) write(ctx context.Context, key, value, once string) error {
	_, err := w.client.Put(ctx, &kvbenchpb.PutRequest{Key: key, Value: []byte(value), Once: once})
	return err //nolint:wrapcheck // what is measured
}

func (w *holdfastWriter) version(ctx context.Context, key string) (uint64, error) {
	resp, err := w.client.Get(ctx, &kvbenchpb.GetRequest{Key: key})
	return resp.GetVersion(), err //nolint:wrapcheck // what is measured
}

func (w *holdfastWriter) close() { w.closeAll() }

type etcdWriter struct{ client *clientv3.Client }

func (w *etcdWriter) write(ctx context.Context, key, value, _ string) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	_, err := w.client.Put(ctx, key, value)
	return err //nolint:wrapcheck // what is measured
}

func (w *etcdWriter) version(ctx context.Context, key string) (uint64, error) {
	resp, err := w.client.Get(ctx, key)
	if err != nil || len(resp.Kvs) == 0 {
		return 0, err //nolint:wrapcheck // what is measured
	}
	return uint64(resp.Kvs[0].Version), nil //nolint:gosec // not negative
}

func (w *etcdWriter) close() { _ = w.client.Close() }

// A time without a write counts as long from longPause on; that many are kept.
const (
	longPause = 25 * time.Millisecond
	maxPauses = 200
)

// stretch is a time that began at begun.
type stretch struct {
	begun time.Time
	took  time.Duration
}

// writers is the clients that write, each its own key, one write after the other, and what they have seen.
type writers struct {
	client writer
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu           sync.Mutex
	acknowledged [writerCount]uint64
	failed       [writerCount]uint64
	text         string        // of the last error
	broken, gone time.Time     // when the leader was killed, and when it had certainly ended
	first        time.Duration // from broken to the first write that began after gone and was acknowledged
	last         time.Time     // the last acknowledgement
	gap          time.Duration // the longest time without one, since mark
	slowest      time.Duration // the slowest write, since mark
	pauses       []stretch     // times without one that were long, since mark; the first of them
	late         time.Duration // by how much a timer of this process was late at the most, since mark
	waiting      chan struct{} // closed when first is known
}

func startWriters(ctx context.Context, client writer) *writers {
	ctx, cancel := context.WithCancel(ctx)
	w := &writers{client: client, cancel: cancel}
	for i := range writerCount {
		w.wg.Go(func() { w.run(ctx, i) })
	}
	w.wg.Go(func() { w.idle(ctx) })
	return w
}

func (w *writers) run(ctx context.Context, i int) {
	key := writerKey(i)
	for seq := 0; ctx.Err() == nil; seq++ {
		once := key + "/" + strconv.Itoa(seq)
		begun := time.Now()
		// Not ctx: a write under way at the end is waited for, so that it is known whether it happened.
		err := w.client.write(context.WithoutCancel(ctx), key, value, once)
		w.done(i, begun, err)
		if err != nil {
			pause(ctx, 5*time.Millisecond)
		}
	}
}

// idle does nothing but see whether it is let: what the machine does besides holds up members as much as it does this.
func (w *writers) idle(ctx context.Context) {
	const step = 5 * time.Millisecond
	for ctx.Err() == nil {
		begun := time.Now()
		time.Sleep(step)
		late := time.Since(begun) - step
		w.mu.Lock()
		w.late = max(w.late, late)
		w.mu.Unlock()
	}
}

// stoodStill returns by how much the idle part of this process was held up at the most, since mark.
func (w *writers) stoodStill() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.late
}

func writerKey(i int) string { return "writer-" + strconv.Itoa(i) }

func (w *writers) done(i int, begun time.Time, err error) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.failed[i]++
		w.text = err.Error()
		return
	}
	w.acknowledged[i]++
	w.slowest = max(w.slowest, now.Sub(begun))
	if !w.last.IsZero() {
		without := now.Sub(w.last)
		w.gap = max(w.gap, without)
		if without >= longPause && len(w.pauses) < maxPauses {
			w.pauses = append(w.pauses, stretch{w.last, without})
		}
	}
	w.last = now
	if w.waiting != nil && begun.After(w.gone) {
		w.first = now.Sub(w.broken)
		close(w.waiting)
		w.waiting = nil
	}
}

// mark begins the measuring of a gap.
func (w *writers) mark() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gap, w.slowest, w.late, w.last, w.pauses = 0, 0, 0, time.Now(), nil
}

// gaps returns the longest time without an acknowledgement and the slowest write since mark.
func (w *writers) gaps() (gap, slowest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(w.gap, time.Since(w.last)), w.slowest
}

// long returns the times without a write that were long, since mark.
func (w *writers) long() []stretch {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.pauses)
}

// breaks begins a failover that is counted from at; by now the leader has ended. The result is closed with the first write
// that begins from now on and succeeds: one of before may be the last that the leader has acknowledged.
func (w *writers) breaks(at time.Time) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken, w.gone, w.first, w.waiting = at, time.Now(), 0, make(chan struct{})
	return w.waiting
}

func (w *writers) failures() (n uint64, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.failed {
		n += f
	}
	return n, w.text
}

// stop ends the writing and returns once no write is under way.
func (w *writers) stop() {
	w.cancel()
	w.wg.Wait()
}

// check counts writes that were acknowledged and are missing, and those that happened more than once. A write that failed
// may have happened, once.
func (w *writers) check(ctx context.Context) (lost, doubled uint64, err error) {
	for i := range writerCount {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		n, err := w.client.version(ctx, writerKey(i))
		cancel()
		if err != nil {
			return 0, 0, fmt.Errorf("how often %s was written: %w", writerKey(i), err)
		}
		if n < w.acknowledged[i] {
			lost += w.acknowledged[i] - n
		}
		if most := w.acknowledged[i] + w.failed[i]; n > most {
			doubled += n - most
		}
	}
	return lost, doubled, nil
}
