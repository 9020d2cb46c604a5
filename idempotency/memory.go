package idempotency

import (
	"bytes"
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// The defaults of a Memory.
const (
	DefaultMaxRecords = 100_000
	DefaultMaxBytes   = 64 << 20
)

// Memory is a Store in this process, which ends with it and which no other instance sees. It is for tests, and for a
// service of one instance whose effects do not outlive it either. The zero value is ready for use.
//
// It is bounded: when it is full, the answer that would be forgotten first anyway is forgotten at once. If all
// records are of requests under way, a further one is refused, RESOURCE_EXHAUSTED.
type Memory struct {
	// MaxRecords and MaxBytes bound what is held. 0: DefaultMaxRecords, DefaultMaxBytes. They must not be
	// changed once the Memory is in use.
	MaxRecords int
	MaxBytes   int

	mu       sync.Mutex
	records  map[ID]*kept
	answers  expiry // every record is in one of the two
	underWay expiry
	bytes    int
	version  uint64
	evicted  uint64
}

type kept struct {
	id      ID
	version uint64
	data    []byte
	expires time.Time
	order   *expiry // that it is in
	index   int     // in order
}

// overhead is about what a record costs beside its data.
const overhead = 200

var errFull = failure.New(failure.ResourceExhausted, "too many requests with idempotency keys are under way").WithRetryAfter(time.Second)

// Swap implements Store.
func (m *Memory) Swap(_ context.Context, id ID, version uint64, data []byte, ttl time.Duration) (Entry, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, order := range []*expiry{&m.answers, &m.underWay} {
		for len(*order) > 0 && !(*order)[0].expires.After(now) {
			m.remove((*order)[0])
		}
	}
	old := m.records[id]
	switch {
	case old == nil && version != 0:
		return Entry{}, false, nil
	case old != nil && old.version != version:
		return Entry{old.version, old.data}, false, nil
	}
	if old != nil {
		m.remove(old)
	}
	if data == nil {
		return Entry{}, true, nil
	}
	if old == nil && !m.makeRoom(len(data)) {
		return Entry{}, false, errFull
	}
	m.version++
	k := &kept{id: id, version: m.version, data: bytes.Clone(data), expires: now.Add(ttl), order: &m.answers}
	if r, err := ParseRecord(data); err == nil && r.State == UnderWay {
		k.order = &m.underWay
	}
	if m.records == nil {
		m.records = make(map[ID]*kept)
	}
	m.records[id] = k
	m.bytes += len(data) + overhead
	heap.Push(k.order, k)
	if old != nil {
		m.makeRoom(0) // it may have grown; if nothing can go, it is somewhat too large
	}
	return Entry{k.version, k.data}, true, nil
}

// makeRoom forgets answers until there is room for one more record of n bytes (0: for none more), and reports whether
// there is.
func (m *Memory) makeRoom(n int) bool {
	more := min(n, 1)
	maxRecords, maxBytes := m.MaxRecords, m.MaxBytes
	if maxRecords <= 0 {
		maxRecords = DefaultMaxRecords
	}
	if maxBytes <= 0 {
		maxBytes = DefaultMaxBytes
	}
	for len(m.records)+more > maxRecords || m.bytes+n+more*overhead > maxBytes {
		if len(m.answers) == 0 {
			return false
		}
		m.remove(m.answers[0])
		m.evicted++
	}
	return true
}

func (m *Memory) remove(k *kept) {
	heap.Remove(k.order, k.index)
	delete(m.records, k.id)
	m.bytes -= len(k.data) + overhead
}

// Usage returns how many records there are, about how many bytes they take, and how many answers have been forgotten
// early so far, because there was no room.
func (m *Memory) Usage() (records, size int, evicted uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.records), m.bytes, m.evicted
}

// expiry is a heap, the first to expire on top.
type expiry []*kept

func (e expiry) Len() int           { return len(e) }
func (e expiry) Less(i, j int) bool { return e[i].expires.Before(e[j].expires) }
func (e expiry) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].index, e[j].index = i, j
}

func (e *expiry) Push(x any) {
	k := x.(*kept)
	k.index = len(*e)
	*e = append(*e, k)
}

func (e *expiry) Pop() any {
	old := *e
	k := old[len(old)-1]
	old[len(old)-1] = nil
	*e = old[:len(old)-1]
	return k
}
