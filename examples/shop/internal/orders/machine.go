package orders

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/tidwall/btree"

	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/replica"
)

// Command is what is asked of a [Book].
type Command struct {
	// Format is that of the commands and of the snapshots. It becomes another one with every field and every op
	// that is added anywhere below: a member that does not know it must stop and not go on without what it means. So a
	// new version first runs everywhere as one that reads the new format, and writes it from the next on.
	Format int    `json:"format"`
	Op     Op     `json:"op"`
	Order  *Order `json:"order,omitempty"` // of Create and Update
	// Version is that of the order which an Update replaces.
	Version uint64 `json:"version,omitempty"`
	// Events are what happened by an Update. They go into the outbox if, and only if, it is made. Since format 2.
	Events []events.Event `json:"events,omitempty"`
	// Sent are the numbers of events that are published, of Sent. Since format 2.
	Sent []uint64 `json:"sent,omitempty"`
}

// Op is the kind of a Command.
type Op string

// The kinds of commands; see [Store].
const (
	Create Op = "create"
	Update Op = "update"
	Sent   Op = "sent" // since format 2
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
//
// It is the outbox, too: an order and what is to be told of it change in one command. Whoever leads publishes what lies
// in it, and takes it out with another command. Should both be done twice, or by two at once, the same messages go out
// again with the same ids.
type Book struct {
	mu         sync.RWMutex
	orders     *btree.Map[string, *entry]
	byCustomer *btree.Map[string, *entry] // the newest first
	promised   *btree.Map[string, *entry] // see Status.Promised; the oldest first
	unfinished *btree.Map[string, *entry] // the others with something to do, the oldest first
	waiting    *btree.Map[string, *entry] // see Status.Waits; the oldest first
	outbox     *btree.Map[uint64, *events.Event]
	last       uint64 // the highest number of an event that was ever in the outbox

	// Of this instance alone; see Outbox.
	known uint64        // last, when the outbox was read last
	grown chan struct{} // closed when last grows, nil if nobody waits
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
		promised:   new(btree.Map[string, *entry]),
		unfinished: new(btree.Map[string, *entry]),
		waiting:    new(btree.Map[string, *entry]),
		outbox:     new(btree.Map[uint64, *events.Event]),
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
	switch c.Op {
	case Create:
		now, ok := b.orders.Get(c.Order.ID)
		if ok {
			return now.answer(false), nil
		}
		return b.put(c.Order, at.Index).answer(true), nil
	case Update:
		now, ok := b.orders.Get(c.Order.ID)
		if !ok || now.version != c.Version {
			return now.answer(false), nil
		}
		for i := range c.Events {
			b.last++
			b.outbox.Set(b.last, &c.Events[i])
		}
		if len(c.Events) > 0 {
			b.grow()
		}
		return b.put(c.Order, at.Index).answer(true), nil
	case Sent:
		for _, number := range c.Sent {
			b.outbox.Delete(number)
		}
		return Answer{}, nil
	}
	panic(fmt.Sprintf("orders: command %q is not known to this version", c.Op))
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
	key := unfinishedKey(o)
	b.promised.Delete(key)
	b.unfinished.Delete(key)
	b.waiting.Delete(key)
	switch {
	case o.Status.Final():
	case o.Status.Waits():
		b.waiting.Set(key, e)
	case o.Status.Promised():
		b.promised.Set(key, e)
	default:
		b.unfinished.Set(key, e)
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
func byPromised(b *Book) *btree.Map[string, *entry]   { return b.promised }
func byUnfinished(b *Book) *btree.Map[string, *entry] { return b.unfinished }
func byWaiting(b *Book) *btree.Map[string, *entry]    { return b.waiting }

// format is the version of commands and snapshots. Apply and Restore read all that there ever were:
//
//	1  an order that is paid was so at once; nothing is published
//	2  orders wait for their payment; the outbox
//
// There was no version that read 2 and wrote 1, so this one step cannot be made by a rolling restart: members of the version
// before stop at the first command of this one, and nothing is lost by that. Stop the old ones first.
//
// An order of format 1 means the same in 2: one that is Paid goes on to be Confirmed, with nothing to publish; one that is not
// goes the new way from where it is.
const format = 2

// record is one line of a snapshot: the head, then the orders, then the outbox.
type record struct {
	Format  int           `json:"format,omitempty"`
	Last    uint64        `json:"last,omitempty"` // of the head
	Order   *Order        `json:"order,omitempty"`
	Version uint64        `json:"version,omitempty"`
	Event   *events.Event `json:"event,omitempty"`
	Number  uint64        `json:"number,omitempty"`
}

type snapshot struct {
	orders *btree.Map[string, *entry]
	outbox *btree.Map[uint64, *events.Event]
	last   uint64
}

// Snapshot implements replica.State. The copy is made when one of the two changes.
func (b *Book) Snapshot() (replica.Snapshot, error) {
	b.mu.Lock() // Copy marks what it shares
	defer b.mu.Unlock()
	return &snapshot{b.orders.Copy(), b.outbox.Copy(), b.last}, nil
}

// Write implements replica.Snapshot.
func (s *snapshot) Write(w io.Writer) error {
	out := json.NewEncoder(w)
	err := out.Encode(record{Format: format, Last: s.last})
	s.orders.Scan(func(_ string, e *entry) bool {
		if err == nil {
			err = out.Encode(record{Order: e.order, Version: e.version})
		}
		return err == nil
	})
	s.outbox.Scan(func(number uint64, e *events.Event) bool {
		if err == nil {
			err = out.Encode(record{Event: e, Number: number})
		}
		return err == nil
	})
	return err
}

// Release implements replica.Snapshot.
func (s *snapshot) Release() { *s = snapshot{} }

// Restore implements replica.State. On an error the book is as it was.
func (b *Book) Restore(from io.Reader) error {
	in := json.NewDecoder(from)
	var head record
	if err := in.Decode(&head); err != nil {
		return fmt.Errorf("read a book of orders: %w", err)
	}
	if head.Format < 1 || head.Format > format {
		return fmt.Errorf("read a book of orders: format %d; this program knows %d", head.Format, format)
	}
	fresh := NewBook()
	fresh.last = head.Last
	for in.More() {
		var r record
		if err := in.Decode(&r); err != nil {
			return fmt.Errorf("read a book of orders: %w", err)
		}
		switch {
		case r.Order != nil && r.Order.ID != "" && r.Version != 0:
			fresh.put(r.Order, r.Version)
		case r.Event != nil && r.Number != 0 && r.Number <= head.Last:
			fresh.outbox.Set(r.Number, r.Event)
		default:
			return errors.New("read a book of orders: a record of nothing that this program knows")
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.orders, b.byCustomer = fresh.orders, fresh.byCustomer
	b.promised, b.unfinished, b.waiting = fresh.promised, fresh.unfinished, fresh.waiting
	b.outbox, b.last = fresh.outbox, fresh.last
	b.known = 0
	b.grow()
	return nil
}
