package kv

import (
	"bytes"
	"math"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica"
)

// domain is that of the reasons of this package's errors.
const domain = "kv"

// Errors that callers act on; compare with errors.Is. They hold across processes.
var (
	// ErrConflict: the key is not at the revision that was asked for. Read it again.
	ErrConflict = failure.New(failure.Aborted, "the key has another revision").WithReason("REVISION_CHANGED", domain)
	// ErrCompacted: the revisions that a watch is to begin with are no longer kept here. List, then watch from there.
	ErrCompacted = failure.New(failure.OutOfRange, "events of these revisions are no longer kept").WithReason("COMPACTED", domain)
	// ErrResultTooLarge: the transaction would find more than MaxResultBytes. Nothing was changed. Read less at a time.
	ErrResultTooLarge = failure.New(failure.FailedPrecondition, "the result of the transaction is too large").WithReason("RESULT_TOO_LARGE", domain)
	// ErrFull: the store has reached Config.MaxBytes.
	ErrFull = failure.New(failure.ResourceExhausted, "the store is full").WithReason("STORE_FULL", domain)
)

// expireBatch bounds how many keys one command ends, so that no command takes long. The others follow with the next.
const expireBatch = 256

// Item is a key and its value as of some revision.
type Item struct {
	Key string
	// Value is shared with the store: it must not be modified.
	Value []byte
	// Created is the revision in which the key was created, and Revision the one in which it was last written.
	Created, Revision uint64
	// Version counts the writes since it was created; the first is 1.
	Version uint64
	// Expires is when the key ends, by the leader's clock. Zero: it does not.
	Expires time.Time
}

// size is what an item counts in Config.MaxBytes.
func (i *Item) size() int64 { return int64(len(i.Key)) + int64(len(i.Value)) }

// deadline is a key that ends, in the order of their ends.
type deadline struct {
	at  int64 // Unix time in nanoseconds
	key string
}

func earlier(a, b deadline) bool { return a.at < b.at || a.at == b.at && a.key < b.key }

// Machine is the state and the rules of a store: a [replica.Machine]. The result of a command depends on the commands
// before it and on their times alone, never on the member. Its other methods are safe for concurrent use with Apply.
// [Store] makes its commands.
type Machine struct {
	mu    sync.RWMutex
	items *btree.Map[string, *Item] // items are never modified, only replaced: views and events share them
	// due has exactly the items that have an Expires.
	due      *btree.BTreeG[deadline]
	revision uint64 // of the last command that changed something
	now      int64  // time of the last command; it never goes back
	bytes    int64  // sum of the items' sizes
	view     *View  // of this revision, if somebody asked for one
	history  history
}

// NewMachine returns an empty machine. Of cfg only the bounds of the history count. They need not be equal on all members.
func NewMachine(cfg Config) *Machine {
	cfg = cfg.defaults()
	m := &Machine{history: newHistory(cfg.HistoryEvents, cfg.HistoryBytes)}
	m.clear()
	return m
}

func (m *Machine) clear() {
	m.items = btree.NewMap[string, *Item](0)
	m.due = btree.NewBTreeGOptions(earlier, btree.Options{NoLocks: true})
	m.revision, m.now, m.bytes, m.view = 0, 0, 0, nil
}

// Apply implements replica.Machine. A command that is malformed is refused, by all members alike; one of a newer version
// panics, since this member cannot know what the others make of it.
func (m *Machine) Apply(e replica.Entry) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = max(m.now, e.Time.UnixNano()) // never below 0, which is before all ends
	m.expire()
	result, err := m.run(e.Command)
	m.history.wake()
	return result, err
}

func (m *Machine) run(b []byte) ([]byte, error) {
	cmd, err := decodeCommand(b)
	if err != nil {
		return nil, failure.Wrap(err, failure.InvalidArgument, "malformed command").WithReason("MALFORMED", domain)
	}
	switch cmd.kind {
	case kindPut, kindDelete:
		old, _ := m.items.Get(string(cmd.op.key))
		if err := cmd.check(old); err != nil {
			return nil, err
		}
		if cmd.kind == kindPut {
			m.put(&cmd.op, old, m.revision+1)
			m.revision++
			return encodeRevision(m.revision), nil
		}
		if old != nil {
			m.remove(old, m.revision+1, false)
			m.revision++
		}
		return encodeDeleted(m.revision, old != nil), nil
	case kindTxn:
		return m.txn(&cmd)
	default: // kindExpire, which every command does
		return nil, nil
	}
}

// check returns ErrConflict with the facts if old is not at the revision that the command asks for.
func (c *command) check(old *Item) error {
	if !c.conditional {
		return nil
	}
	var at uint64
	if old != nil {
		at = old.Revision
	}
	if at == c.revision {
		return nil
	}
	return conflict(c.op.key, at, c.revision)
}

// txn runs one of the transaction's branches at one revision.
func (m *Machine) txn(cmd *command) ([]byte, error) {
	branch, succeeded := cmd.then, true
	for i := range cmd.compares {
		if !m.holds(&cmd.compares[i]) {
			branch, succeeded = cmd.otherwise, false
			break
		}
	}
	if size := m.resultSize(branch); size > MaxResultBytes {
		return nil, ErrResultTooLarge.With("what the transaction finds has %d bytes, and at most %d are returned", size, MaxResultBytes)
	}
	results := make([]txnOp, len(branch))
	next, changed := m.revision+1, false
	for i := range branch {
		op := &branch[i]
		old, found := m.items.Get(string(op.key))
		results[i] = txnOp{item: old, value: op.kind == opGet}
		switch op.kind {
		case opPut:
			m.put(op, old, next)
			changed = true
		case opDelete:
			if found {
				m.remove(old, next, false)
				changed = true
			}
		case opGet:
		}
	}
	if changed {
		m.revision = next
	}
	return encodeTxnResult(succeeded, m.revision, results), nil
}

// resultSize is how many bytes the result of a branch has at most. Nothing is changed for that: what its own operations
// would change is kept aside.
func (m *Machine) resultSize(branch []operation) int {
	const absent = -1
	written := map[string]int{} // length of the value
	size := itemOverhead + len(branch)
	for i := range branch {
		op := &branch[i]
		length, ok := written[string(op.key)]
		if !ok {
			length = absent
			if item, found := m.items.Get(string(op.key)); found {
				length = len(item.Value)
			}
		}
		if length != absent {
			size += len(op.key) + itemOverhead
			if op.kind == opGet {
				size += length
			}
		}
		switch op.kind {
		case opPut:
			written[string(op.key)] = len(op.value)
		case opDelete:
			written[string(op.key)] = absent
		}
	}
	return size
}

func (m *Machine) holds(c *compare) bool {
	item, _ := m.items.Get(string(c.key))
	var n uint64
	if item != nil {
		switch c.target {
		case targetValue:
			return c.relation.holds(bytes.Compare(item.Value, c.value))
		case targetRevision:
			n = item.Revision
		case targetCreated:
			n = item.Created
		case targetVersion:
			n = item.Version
		}
	}
	switch {
	case c.target == targetValue:
		return false
	case n < c.number:
		return c.relation.holds(-1)
	case n > c.number:
		return c.relation.holds(1)
	default:
		return c.relation.holds(0)
	}
}

// put writes op over old, which may be nil, in a revision that may have other changes, too. What op refers to belongs to
// the log and is copied.
func (m *Machine) put(op *operation, old *Item, revision uint64) {
	item := &Item{Value: bytes.Clone(op.value), Created: revision, Revision: revision, Version: 1}
	if old != nil {
		item.Key, item.Created, item.Version = old.Key, old.Created, old.Version+1
		m.forget(old)
	} else {
		item.Key = string(op.key)
	}
	if op.ttl > 0 {
		at := int64(math.MaxInt64)
		if ttl := int64(op.ttl); m.now < math.MaxInt64-ttl {
			at = m.now + ttl
		}
		item.Expires = time.Unix(0, at).UTC()
		m.due.Set(deadline{at, item.Key})
	}
	m.items.Set(item.Key, item)
	m.bytes += item.size()
	m.changed(Event{Type: Put, Item: item, revision: revision})
}

func (m *Machine) remove(old *Item, revision uint64, expired bool) {
	m.items.Delete(old.Key)
	m.forget(old)
	typ := Delete
	if expired {
		typ = Expire
	}
	m.changed(Event{Type: typ, Item: old, revision: revision})
}

// forget takes back what old counts for.
func (m *Machine) forget(old *Item) {
	m.bytes -= old.size()
	if !old.Expires.IsZero() {
		m.due.Delete(deadline{old.Expires.UnixNano(), old.Key})
	}
}

func (m *Machine) changed(e Event) {
	m.view = nil
	m.history.add(e)
}

// expire ends keys whose time has come, at one revision of their own.
func (m *Machine) expire() {
	next, any := m.revision+1, false
	for range expireBatch {
		d, ok := m.due.Min()
		if !ok || d.at > m.now {
			break
		}
		item, _ := m.items.Get(d.key)
		m.remove(item, next, true)
		any = true
	}
	if any {
		m.revision = next
	}
}

// nextExpiry returns when the next key ends and the time of the last command, both in ns of Unix time. ok is false if none
// ends.
func (m *Machine) nextExpiry() (next, now int64, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	d, ok := m.due.Min()
	return d.at, m.now, ok
}

// growth is how many bytes more there would be after ops. The caller holds the lock.
func (m *Machine) growth(ops []Op) (more int64) {
	var written map[string]int64 // size of what ops have left so far, of keys that are touched
	if len(ops) > 1 {
		written = make(map[string]int64, len(ops))
	}
	for i := range ops {
		op := &ops[i]
		size := int64(0)
		switch op.kind {
		case opPut:
			size = int64(len(op.key)) + int64(len(op.value))
		case opGet:
			continue
		}
		before, ok := written[op.key]
		if !ok {
			if item, found := m.items.Get(op.key); found {
				before = item.size()
			}
		}
		more += size - before
		if written != nil {
			written[op.key] = size
		}
	}
	return more
}

// Get returns the item of a key as of the last command that this member has applied, and whether there is one.
func (m *Machine) Get(key string) (Item, bool) {
	m.mu.RLock()
	item, ok := m.items.Get(key)
	m.mu.RUnlock()
	if !ok {
		return Item{}, false
	}
	return *item, true
}

// View returns all that this member has applied. It takes no time, whatever the size.
func (m *Machine) View() *View {
	m.mu.RLock()
	v := m.view
	m.mu.RUnlock()
	if v != nil {
		return v
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.viewLocked()
}

func (m *Machine) viewLocked() *View {
	if m.view == nil {
		m.view = &View{items: m.items.Copy(), revision: m.revision, bytes: m.bytes}
	}
	return m.view
}

// Stats is how much a store holds.
type Stats struct {
	Keys     int
	Bytes    int64 // of keys and values
	Revision uint64
	// NextExpiry is when the next key ends, by the leader's clock. Zero: none does.
	NextExpiry time.Time
}

// Stats returns how much this member's copy holds.
func (m *Machine) Stats() Stats {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := Stats{Keys: m.items.Len(), Bytes: m.bytes, Revision: m.revision}
	if d, ok := m.due.Min(); ok {
		s.NextExpiry = time.Unix(0, d.at).UTC()
	}
	return s
}
