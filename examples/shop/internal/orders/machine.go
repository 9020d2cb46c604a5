package orders

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/tidwall/btree"

	"github.com/holdfast-go/holdfast/replica"
)

// Command is what is asked of a [Book].
type Command struct {
	// Format is that of the commands and of the snapshots. It becomes another one with every field and every op
	// that is added anywhere below: a member that does not know it must stop and not go on without what it means. So a
	// new version first runs everywhere as one that reads the new format, and writes it from the next on.
	Format int    `json:"format"`
	Op     Op     `json:"op"`
	Order  *Order `json:"order"`
	// Version is that of the order which an Update replaces.
	Version uint64 `json:"version,omitempty"`
}

// Op is the kind of a Command.
type Op string

// The kinds of commands; see [Store].
const (
	Create Op = "create"
	Update Op = "update"
)

// Answer is the result of a Command.
type Answer struct {
	// Order is the one that is in the book now, Version its version.
	Order   *Order `json:"order"`
	Version uint64 `json:"version"`
	// Written says that it is the command's.
	Written bool `json:"written"`
}

// Book holds all orders, the same on each instance: a replica.State. What is in it is never modified, only replaced, so
// that readers and snapshots share it.
type Book struct {
	mu         sync.RWMutex
	orders     *btree.Map[string, *entry]
	byCustomer *btree.Map[string, *entry] // the newest first
	unfinished *btree.Map[string, *entry] // the oldest first
}

type entry struct {
	order   *Order
	version uint64
}

// NewBook returns an empty one.
func NewBook() *Book {
	return &Book{
		orders:     new(btree.Map[string, *entry]),
		byCustomer: new(btree.Map[string, *entry]),
		unfinished: new(btree.Map[string, *entry]),
	}
}

// Apply implements replica.State.
func (b *Book) Apply(at replica.At, c Command) (Answer, error) {
	if c.Format > format {
		// Members of a newer version do what it says: this one must not go on as if nothing had happened.
		panic(fmt.Sprintf("orders: a command of format %d; this version knows %d", c.Format, format))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now, ok := b.orders.Get(c.Order.ID)
	switch c.Op {
	case Create:
		if !ok {
			now = b.put(c.Order, at.Index)
			return now.answer(true), nil
		}
	case Update:
		if ok && now.version == c.Version {
			now = b.put(c.Order, at.Index)
			return now.answer(true), nil
		}
	default:
		panic(fmt.Sprintf("orders: command %q is not known to this version", c.Op))
	}
	return now.answer(false), nil
}

func (e *entry) answer(written bool) Answer {
	if e == nil {
		return Answer{}
	}
	return Answer{e.order, e.version, written}
}

// put writes o under all its keys.
func (b *Book) put(o *Order, version uint64) *entry {
	e := &entry{o, version}
	b.orders.Set(o.ID, e)
	b.byCustomer.Set(customerKey(o), e)
	if o.Status.Final() {
		b.unfinished.Delete(unfinishedKey(o))
	} else {
		b.unfinished.Set(unfinishedKey(o), e)
	}
	return e
}

// load returns a copy of an order, which remembers its version.
func (b *Book) load(id string) (*Order, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	e, ok := b.orders.Get(id)
	if !ok {
		return nil, false
	}
	return e.copy(), true
}

func (e *entry) copy() *Order {
	o := *e.order
	o.version = e.version
	return &o
}

// page returns copies of up to limit orders of tree: those whose keys begin with prefix and lie behind after, in the
// order of the keys.
func (b *Book) page(tree func(*Book) *btree.Map[string, *entry], prefix, after string, limit int) (found []*Order) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	tree(b).Ascend(max(prefix, after), func(key string, e *entry) bool {
		if !strings.HasPrefix(key, prefix) || len(found) == limit {
			return false
		}
		if key != after {
			found = append(found, e.copy())
		}
		return true
	})
	return found
}

// The trees of a Book, for page.
func byID(b *Book) *btree.Map[string, *entry]         { return b.orders }
func byCustomer(b *Book) *btree.Map[string, *entry]   { return b.byCustomer }
func byUnfinished(b *Book) *btree.Map[string, *entry] { return b.unfinished }

// format is the version of commands and snapshots. Apply and Restore read all that there ever were.
const format = 1

// record is one line of a snapshot: the head, then the orders.
type record struct {
	Format  int    `json:"format,omitempty"`
	Order   *Order `json:"order,omitempty"`
	Version uint64 `json:"version,omitempty"`
}

type snapshot struct {
	orders *btree.Map[string, *entry]
}

// Snapshot implements replica.State. The copy is made when one of the two changes.
func (b *Book) Snapshot() (replica.Snapshot, error) {
	b.mu.Lock() // Copy marks what it shares
	defer b.mu.Unlock()
	return &snapshot{b.orders.Copy()}, nil
}

// Write implements replica.Snapshot.
func (s *snapshot) Write(w io.Writer) error {
	out := json.NewEncoder(w)
	err := out.Encode(record{Format: format})
	s.orders.Scan(func(_ string, e *entry) bool {
		if err == nil {
			err = out.Encode(record{Order: e.order, Version: e.version})
		}
		return err == nil
	})
	return err
}

// Release implements replica.Snapshot.
func (s *snapshot) Release() { s.orders = nil }

// Restore implements replica.State. On an error the book is as it was.
func (b *Book) Restore(from io.Reader) error {
	in := json.NewDecoder(from)
	var head record
	if err := in.Decode(&head); err != nil {
		return fmt.Errorf("read a book of orders: %w", err)
	}
	if head.Format != format {
		return fmt.Errorf("read a book of orders: format %d; this program knows %d", head.Format, format)
	}
	fresh := NewBook()
	for in.More() {
		var r record
		if err := in.Decode(&r); err != nil {
			return fmt.Errorf("read a book of orders: %w", err)
		}
		if r.Order == nil || r.Order.ID == "" || r.Version == 0 {
			return errors.New("read a book of orders: a record without an order")
		}
		fresh.put(r.Order, r.Version)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.orders, b.byCustomer, b.unfinished = fresh.orders, fresh.byCustomer, fresh.unfinished
	return nil
}
