package inventory

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"sync"

	"github.com/tidwall/btree"

	"github.com/holdfast-go/holdfast/replica"
)

// Command is what is asked of a [Ledger]. It says all that the decision needs beside the ledger itself: members that run
// different versions of this program must not decide differently.
type Command struct {
	// Format is that of the commands and of the snapshots. It becomes another one with every field and every op
	// that is added anywhere below: a member that does not know it must stop and not go on without what it means. So a
	// new version first runs everywhere as one that reads the new format, and writes it from the next on.
	Format int    `json:"format"`
	Op     Op     `json:"op"`
	Order  string `json:"order"`
	Lines  []Line `json:"lines,omitempty"` // of Reserve
	// Opening is the stock that the products of Lines open with, for those that the ledger has none of yet: nothing has
	// to be written before the first sale. A product that is missing in both does not exist.
	Opening map[string]int64 `json:"opening,omitempty"`
}

// Op is the kind of a Command.
type Op string

// The kinds of commands; see [Store].
const (
	Reserve Op = "reserve"
	Commit  Op = "commit"
	Release Op = "release"
)

// Done is the result of a command that was carried out, now or before.
type Done struct{}

// Ledger is stock and reservations, the same on each instance: a replica.State. Apply decides in the order of the commands,
// so there is nothing to compare and to try again; a command that comes twice finds the reservation that it made.
type Ledger struct {
	mu           sync.RWMutex
	stock        map[string]Stock
	reservations *btree.Map[string, *Reservation] // never modified, only replaced: snapshots share them
}

// NewLedger returns an empty one.
func NewLedger() *Ledger {
	return &Ledger{stock: make(map[string]Stock), reservations: new(btree.Map[string, *Reservation])}
}

// Apply implements replica.State.
func (l *Ledger) Apply(_ replica.At, c Command) (Done, error) {
	if c.Format > format {
		// Members of a newer version do what it says: this one must not go on as if nothing had happened.
		panic(fmt.Sprintf("inventory: a command of format %d; this version knows %d", c.Format, format))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r, _ := l.reservations.Get(c.Order)
	var next change
	var err error
	switch c.Op {
	case Reserve:
		next, err = reserve(r, l.shelves(c), c.Lines)
	case Commit:
		next, err = commit(r)
	case Release:
		next, err = release(r, l.stock)
	default:
		panic(fmt.Sprintf("inventory: command %q is not known to this version", c.Op))
	}
	if err != nil {
		return Done{}, err
	}
	if next.reservation != nil {
		l.reservations.Set(c.Order, next.reservation)
	}
	maps.Copy(l.stock, next.stock)
	return Done{}, nil
}

// shelves returns the stock of the lines' products.
func (l *Ledger) shelves(c Command) map[string]Stock {
	out := make(map[string]Stock, len(c.Lines))
	for _, line := range c.Lines {
		if s, ok := l.stock[line.Product]; ok {
			out[line.Product] = s
		} else if n, ok := c.Opening[line.Product]; ok {
			out[line.Product] = Stock{Initial: n, Available: n}
		}
	}
	return out
}

// Stock returns what there is of a product; ok is false if none was ever taken.
func (l *Ledger) Stock(product string) (s Stock, ok bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	s, ok = l.stock[product]
	return s, ok
}

// view returns stock and reservations of one moment.
func (l *Ledger) view() (map[string]Stock, *btree.Map[string, *Reservation]) {
	l.mu.Lock() // Copy marks what it shares
	defer l.mu.Unlock()
	return maps.Clone(l.stock), l.reservations.Copy()
}

// format is the version of commands and snapshots. Apply and Restore read all that there ever were.
const format = 1

// record is one line of a snapshot: the head, then stock, then reservations.
type record struct {
	Format      int          `json:"format,omitempty"`
	Product     string       `json:"product,omitempty"`
	Stock       *Stock       `json:"stock,omitempty"`
	Order       string       `json:"order,omitempty"`
	Reservation *Reservation `json:"reservation,omitempty"`
}

type snapshot struct {
	stock        map[string]Stock
	reservations *btree.Map[string, *Reservation]
}

// Snapshot implements replica.State. The copy is made when one of the two changes.
func (l *Ledger) Snapshot() (replica.Snapshot, error) {
	stock, reservations := l.view()
	return &snapshot{stock, reservations}, nil
}

// Write implements replica.Snapshot.
func (s *snapshot) Write(w io.Writer) error {
	out := json.NewEncoder(w)
	err := out.Encode(record{Format: format})
	for product, stock := range s.stock {
		if err == nil {
			err = out.Encode(record{Product: product, Stock: &stock})
		}
	}
	s.reservations.Scan(func(order string, r *Reservation) bool {
		if err == nil {
			err = out.Encode(record{Order: order, Reservation: r})
		}
		return err == nil
	})
	return err
}

// Release implements replica.Snapshot.
func (s *snapshot) Release() { *s = snapshot{} }

// Restore implements replica.State. On an error the ledger is as it was.
func (l *Ledger) Restore(from io.Reader) error {
	in := json.NewDecoder(from)
	var head record
	if err := in.Decode(&head); err != nil {
		return fmt.Errorf("read a ledger: %w", err)
	}
	if head.Format != format {
		return fmt.Errorf("read a ledger: format %d; this program knows %d", head.Format, format)
	}
	fresh := NewLedger()
	for in.More() {
		var r record
		if err := in.Decode(&r); err != nil {
			return fmt.Errorf("read a ledger: %w", err)
		}
		switch {
		case r.Stock != nil:
			fresh.stock[r.Product] = *r.Stock
		case r.Reservation != nil:
			fresh.reservations.Set(r.Order, r.Reservation)
		default:
			return fmt.Errorf("read a ledger: a record of nothing that this program knows")
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stock, l.reservations = fresh.stock, fresh.reservations
	return nil
}
