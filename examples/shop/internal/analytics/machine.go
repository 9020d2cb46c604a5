package analytics

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"

	"github.com/tidwall/btree"

	"github.com/holdfast-go/holdfast/replica"
)

// Command counts an event.
type Command struct {
	// Format is that of the commands and of the snapshots; see package orders for when it becomes another one.
	Format int `json:"format"`
	// ID is the event's: a command with one that was counted changes nothing.
	ID    string `json:"id"`
	Count Totals `json:"count"` // what it adds
}

// Totals are numbers of orders, and what they amount to.
type Totals struct {
	Placed    int64            `json:"placed,omitempty"`
	Paid      int64            `json:"paid,omitempty"`
	Cancelled int64            `json:"cancelled,omitempty"`
	Revenue   map[string]int64 `json:"revenue,omitempty"` // by currency, in its smallest unit
	Sold      map[string]int64 `json:"sold,omitempty"`    // by product
}

// add adds what c has.
func (t *Totals) add(c Totals) {
	t.Placed += c.Placed
	t.Paid += c.Paid
	t.Cancelled += c.Cancelled
	addTo(&t.Revenue, c.Revenue)
	addTo(&t.Sold, c.Sold)
}

func addTo(sums *map[string]int64, more map[string]int64) {
	if *sums == nil && len(more) > 0 {
		*sums = make(map[string]int64, len(more))
	}
	for name, n := range more {
		(*sums)[name] += n
	}
}

func (t *Totals) clone() Totals {
	out := *t
	out.Revenue, out.Sold = maps.Clone(t.Revenue), maps.Clone(t.Sold)
	return out
}

// Counted is the result of a Command.
type Counted struct {
	// Before says that the event was counted already.
	Before bool `json:"before,omitempty"`
}

// Remembered is how many events the Tally knows by their ids: one that comes again after so many others is counted twice.
// A redelivery comes within minutes, after some thousand others at most. What people replay from the dead letters later than
// that was usually never counted; but it may have been, if it was counted and the answer did not come each time that it was
// tried.
const Remembered = 100_000

// Tally is what was counted, the same on each instance: a replica.State. That an event is counted and that it is known to be
// are one command, so neither is there without the other.
type Tally struct {
	mu         sync.RWMutex
	remembered int
	totals     Totals
	seen       *btree.Map[string, uint64] // by id: its number
	order      *btree.Map[uint64, string] // by number, the oldest first
	last       uint64
}

// NewTally returns an empty one that knows the last Remembered events.
func NewTally() *Tally { return newTally(Remembered) }

func newTally(remembered int) *Tally {
	return &Tally{remembered: remembered, seen: new(btree.Map[string, uint64]), order: new(btree.Map[uint64, string])}
}

// Apply implements replica.State.
func (t *Tally) Apply(_ replica.At, c Command) (Counted, error) {
	if c.Format > format {
		// Members of a newer version do what it says: this one must not go on as if nothing had happened.
		panic(fmt.Sprintf("analytics: a command of format %d; this version knows %d", c.Format, format))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.seen.Get(c.ID); ok {
		return Counted{Before: true}, nil
	}
	t.remember(t.last+1, c.ID)
	t.totals.add(c.Count)
	return Counted{}, nil
}

func (t *Tally) remember(number uint64, id string) {
	t.last = number
	t.seen.Set(id, number)
	t.order.Set(number, id)
	for t.order.Len() > t.remembered {
		_, oldest, _ := t.order.PopMin()
		t.seen.Delete(oldest)
	}
}

// Totals returns what was counted.
func (t *Tally) Totals() Totals {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.totals.clone()
}

// format is the version of commands and snapshots. Apply and Restore read all that there ever were.
const format = 1

// head is the first line of a snapshot; the ids follow, the oldest first, a string a line.
type head struct {
	Format int    `json:"format"`
	Totals Totals `json:"totals"`
	Last   uint64 `json:"last"`
}

type snapshot struct {
	head  head
	order *btree.Map[uint64, string]
}

// Snapshot implements replica.State. The copy is made when one of the two changes.
func (t *Tally) Snapshot() (replica.Snapshot, error) {
	t.mu.Lock() // Copy marks what it shares
	defer t.mu.Unlock()
	return &snapshot{head{format, t.totals.clone(), t.last}, t.order.Copy()}, nil
}

// Write implements replica.Snapshot.
func (s *snapshot) Write(w io.Writer) error {
	out := json.NewEncoder(w)
	err := out.Encode(s.head)
	s.order.Scan(func(_ uint64, id string) bool {
		if err == nil {
			err = out.Encode(id)
		}
		return err == nil
	})
	return err
}

// Release implements replica.Snapshot.
func (s *snapshot) Release() { s.order = nil }

// Restore implements replica.State. On an error the tally is as it was.
func (t *Tally) Restore(from io.Reader) error {
	in := json.NewDecoder(from)
	var h head
	if err := in.Decode(&h); err != nil {
		return fmt.Errorf("read a tally: %w", err)
	}
	if h.Format != format {
		return fmt.Errorf("read a tally: format %d; this program knows %d", h.Format, format)
	}
	var ids []string
	for in.More() {
		var id string
		if err := in.Decode(&id); err != nil {
			return fmt.Errorf("read a tally: %w", err)
		}
		ids = append(ids, id)
	}
	if uint64(len(ids)) > h.Last {
		return errors.New("read a tally: more events than were counted")
	}
	fresh := newTally(t.remembered)
	fresh.totals = h.Totals
	for i, id := range ids {
		fresh.remember(h.Last-uint64(len(ids)-1-i), id)
	}
	fresh.last = h.Last
	t.mu.Lock()
	defer t.mu.Unlock()
	t.totals, t.seen, t.order, t.last = fresh.totals, fresh.seen, fresh.order, fresh.last
	return nil
}
