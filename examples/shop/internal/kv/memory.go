package kv

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is a KV in memory, for tests. The zero value is an empty store. What has had its time is removed by the next call.
type Memory struct {
	mu       sync.Mutex
	revision int64
	entries  map[string]Entry
	until    map[string]time.Time // of those that do not stay
	log      []Entry              // every change, in order
	changed  chan struct{}
}

// Get implements KV.
func (m *Memory) Get(ctx context.Context, keys ...string) ([]Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	out := make([]Entry, len(keys))
	for i, key := range keys {
		out[i] = m.entries[key]
		out[i].Key = key
	}
	return out, nil
}

// List implements KV.
func (m *Memory) List(ctx context.Context, r Range) (Page, error) {
	if err := ctx.Err(); err != nil {
		return Page{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	page := Page{Revision: m.revision}
	for _, key := range slices.Sorted(maps.Keys(m.entries)) {
		if !strings.HasPrefix(key, r.Prefix) || key <= r.After {
			continue
		}
		if r.Limit > 0 && len(page.Entries) == r.Limit {
			page.More = true
			break
		}
		page.Entries = append(page.Entries, m.entries[key])
	}
	return page, nil
}

// Commit implements KV.
func (m *Memory) Commit(ctx context.Context, tx Txn) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	for _, c := range tx.If {
		if m.entries[c.Key].Revision != c.Revision {
			return 0, nil
		}
	}
	if m.entries == nil {
		m.entries, m.until = make(map[string]Entry), make(map[string]time.Time)
	}
	m.revision++
	for _, p := range tx.Put {
		e := Entry{Key: p.Key, Value: slices.Clone(p.Value), Revision: m.revision}
		m.entries[p.Key] = e
		delete(m.until, p.Key)
		if tx.Keep > 0 {
			m.until[p.Key] = time.Now().Add(tx.Keep)
		}
		m.log = append(m.log, e)
	}
	for _, key := range tx.Delete {
		m.remove(key)
	}
	m.tell()
	return m.revision, nil
}

// remove removes key, at the revision that there is. m.mu is held.
func (m *Memory) remove(key string) {
	if _, ok := m.entries[key]; ok {
		delete(m.entries, key)
		delete(m.until, key)
		m.log = append(m.log, Entry{Key: key, Revision: m.revision})
	}
}

// tell wakes those who watch. m.mu is held.
func (m *Memory) tell() {
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

// expire removes what has had its time. m.mu is held.
func (m *Memory) expire() {
	now := time.Now()
	for _, key := range slices.Sorted(maps.Keys(m.until)) {
		if !now.Before(m.until[key]) {
			m.revision++
			m.remove(key)
			m.tell()
		}
	}
}

// Watch implements KV.
func (m *Memory) Watch(ctx context.Context, prefix string, after int64, apply func([]Entry)) error {
	for seen := 0; ; {
		m.mu.Lock()
		var changes []Entry
		for _, e := range m.log[seen:] {
			if e.Revision > after && strings.HasPrefix(e.Key, prefix) {
				changes = append(changes, e)
			}
		}
		seen = len(m.log)
		if m.changed == nil {
			m.changed = make(chan struct{})
		}
		changed := m.changed
		m.mu.Unlock()
		if len(changes) > 0 {
			apply(changes)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
