package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/replica"
)

func keyOf(writer int) string { return fmt.Sprintf("writer-%d", writer) }

// work is the writers.
type work struct {
	f      *fleet
	quit   context.CancelFunc
	done   sync.WaitGroup
	last   []int // acknowledged, by writer
	calls  atomic.Int64
	failed atomic.Int64
	mu     sync.Mutex
	slow   time.Duration // since mark
}

func (f *fleet) write(ctx context.Context, seed uint64) *work {
	ctx, quit := context.WithCancel(ctx)
	w := &work{f: f, quit: quit, last: make([]int, f.writers)}
	for i := range f.writers {
		w.done.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for ctx.Err() == nil {
				began := time.Now()
				if !w.add(ctx, rng, i, w.last[i]+1) {
					return
				}
				w.last[i]++
				w.calls.Add(1)
				w.mu.Lock()
				w.slow = max(w.slow, time.Since(began))
				w.mu.Unlock()
			}
		})
	}
	return w
}

// add writes a number, as often as it takes; it gives up with ctx only between two attempts.
func (w *work) add(ctx context.Context, rng *rand.Rand, writer, n int) bool {
	key := keyOf(writer)
	command := fmt.Sprintf("%s=%d", key, n)
	for ctx.Err() == nil {
		hosts := w.f.all()
		h := hosts[rng.IntN(len(hosts))]
		select {
		case <-h.m.Ready(): // a registry tells of it only then
		default:
			continue
		}
		g, _, ok := w.f.at(h, key, rng)
		if !ok { // for a moment, no host that was asked knew better
			time.Sleep(5 * time.Millisecond)
			continue
		}
		try, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		_, err := g.Propose(try, []byte(command), replica.Once(command))
		cancel()
		if err == nil {
			return true
		}
		w.failed.Add(1)
	}
	return false
}

// rate measures writes a second.
func (w *work) rate(ctx context.Context, d time.Duration) float64 {
	from, begun := w.calls.Load(), time.Now()
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	return float64(w.calls.Load()-from) / time.Since(begun).Seconds()
}

// mark returns the slowest write since the mark before.
func (w *work) mark() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	slow := w.slow
	w.slow = 0
	return slow
}

// stop ends the writers and returns how many writes there were.
func (w *work) stop() int64 {
	w.quit()
	w.done.Wait()
	return w.calls.Load()
}

// numbers is the machine of a shard: how often each number was added to each key.
type numbers struct {
	host *host
	mu   sync.Mutex
	keys map[string]map[int]int
}

func newNumbers(h *host) *numbers { return &numbers{host: h, keys: map[string]map[int]int{}} }

// Apply implements replica.Machine.
func (m *numbers) Apply(e replica.Entry) ([]byte, error) {
	m.host.spend(cost)
	key, digits, _ := strings.Cut(string(e.Command), "=")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return nil, fmt.Errorf("number: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys[key] == nil {
		m.keys[key] = map[int]int{}
	}
	m.keys[key][n]++
	return nil, nil
}

// spend takes its turn at the host and waits until the work would be done.
func (h *host) spend(d time.Duration) {
	for {
		free := h.free.Load()
		end := max(free, time.Now().UnixNano()) + int64(d)
		if h.free.CompareAndSwap(free, end) {
			time.Sleep(time.Until(time.Unix(0, end)))
			return
		}
	}
}

func (m *numbers) times(key string) map[int]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys[key] == nil {
		return map[int]int{}
	}
	return maps.Clone(m.keys[key])
}

type snapshot map[string]map[int]int

// Snapshot implements replica.Machine.
func (m *numbers) Snapshot() (replica.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := snapshot{}
	for key, n := range m.keys {
		s[key] = maps.Clone(n)
	}
	return s, nil
}

// Write implements replica.Snapshot.
func (s snapshot) Write(w io.Writer) error { return json.NewEncoder(w).Encode(s) }

// Release implements replica.Snapshot.
func (s snapshot) Release() {}

// Restore implements replica.Machine.
func (m *numbers) Restore(r io.Reader) error {
	s := snapshot{}
	if err := json.NewDecoder(r).Decode(&s); err != nil {
		return fmt.Errorf("numbers: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = s
	return nil
}
