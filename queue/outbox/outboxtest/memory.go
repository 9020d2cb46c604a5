package outboxtest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/queue/outbox"
)

// Memory is a Store in memory, which is what a test of a relay needs. Its zero value is ready for use.
type Memory struct {
	// Fail, if not nil, is asked before each call, by the name of the method, and fails it with what it returns. It may block.
	Fail func(ctx context.Context, method string) error

	mu      sync.Mutex
	seq     uint64
	pending map[uint64]outbox.Event
	done    []uint64
	news    chan struct{} // closed and replaced
}

var (
	_ outbox.Store   = (*Memory)(nil)
	_ outbox.Counter = (*Memory)(nil)
)

// Add adds events; their Seq and Added are set.
func (m *Memory) Add(events ...outbox.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range events {
		m.seq++
		e.Seq, e.Added = m.seq, time.Now()
		m.insert(e)
	}
}

// Late adds an event with a Seq of an earlier time, as a transaction does that took its number and was committed much later.
func (m *Memory) Late(seq uint64, e outbox.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.Seq, e.Added = seq, time.Now()
	m.seq = max(m.seq, seq)
	m.insert(e)
}

func (m *Memory) insert(e outbox.Event) {
	if m.pending == nil {
		m.pending = make(map[uint64]outbox.Event)
	}
	m.pending[e.Seq] = e
	if m.news != nil {
		close(m.news)
		m.news = nil
	}
}

// Pending implements outbox.Store.
func (m *Memory) Pending(ctx context.Context, q outbox.Query) ([]outbox.Event, error) {
	if err := m.fail(ctx, "Pending"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	topics, keys, seqs := set(q.Skip.Topics), set(q.Skip.Keys), set(q.Skip.Seqs)
	var out []outbox.Event
	size := 0
	for _, seq := range slices.Sorted(maps.Keys(m.pending)) {
		e := m.pending[seq]
		if len(out) == q.Limit || size >= q.MaxBytes && len(out) > 0 {
			break
		}
		if !topics[e.Topic] && !seqs[seq] && (e.Message.Key == "" || !keys[outbox.Key{Topic: e.Topic, Key: e.Message.Key}]) {
			out = append(out, e)
			size += len(e.Message.Data)
		}
	}
	return out, nil
}

// set is q.Skip.Has for many events.
func set[T comparable](list []T) map[T]bool {
	m := make(map[T]bool, len(list))
	for _, v := range list {
		m[v] = true
	}
	return m
}

// Done implements outbox.Store.
func (m *Memory) Done(ctx context.Context, seqs []uint64) error {
	if err := m.fail(ctx, "Done"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, seq := range seqs {
		delete(m.pending, seq)
	}
	m.done = append(m.done, seqs...)
	return nil
}

// Wait implements outbox.Store.
func (m *Memory) Wait(ctx context.Context) error {
	if err := m.fail(ctx, "Wait"); err != nil {
		return err
	}
	m.mu.Lock()
	if m.news == nil {
		m.news = make(chan struct{})
	}
	news := m.news
	m.mu.Unlock()
	t := time.NewTimer(100 * time.Millisecond) // what came between Pending and Wait
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-news:
	case <-t.C:
	}
	return nil
}

// Lag implements outbox.Counter.
func (m *Memory) Lag(ctx context.Context) (outbox.Lag, error) {
	if err := m.fail(ctx, "Lag"); err != nil {
		return outbox.Lag{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	lag := outbox.Lag{Pending: int64(len(m.pending))}
	for _, e := range m.pending {
		if lag.Oldest.IsZero() || e.Added.Before(lag.Oldest) {
			lag.Oldest = e.Added
		}
	}
	return lag, nil
}

func (m *Memory) fail(ctx context.Context, method string) error {
	if m.Fail != nil {
		if err := m.Fail(ctx, method); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Left returns how many events are pending.
func (m *Memory) Left() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.pending)
}

// Finished returns the Seqs of what was done, in order, with those that were done twice.
func (m *Memory) Finished() []uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.done)
}
