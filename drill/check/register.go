package check

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/internal/linear"
)

// Register has clients write and read a few keys alongside the load, and checks that one order of all of it explains every
// answer (linearizability). A write without an answer may have happened at any time after it was sent, or not at
// all; a write that is refused has not.
type Register struct {
	Keys    int           // at a time; 0 is 5
	Clients int           // 0 is 3
	Every   time.Duration // the pause of a client between its calls, on average; 0 is 50 ms
	// Write is called with {{.key}} and {{.value}}, a number from 1 to Values (0 is 200) that nothing else writes to the key.
	// When all have been, another key takes its place.
	Write  load.Call
	Values int
	// Read is called with {{.key}}, and keeps the value as "value". One that is answered with 404 or NOT_FOUND, or with anything
	// else that is refused, or without a value, or with 0, says that the key was never written.
	Read load.Call
}

const (
	defaultKeys       = 5
	defaultClients    = 3
	defaultEvery      = 50 * time.Millisecond
	defaultValues     = 200
	maxOps            = 200_000
	registerKeyPrefix = "register-"
)

// Bounds of a Register.
const (
	MaxKeys    = 1000
	MaxClients = 64
)

type register struct {
	named
	cfg         Register
	write, read *load.Prepared

	history linear.History
	mu      sync.Mutex
	slots   []slot
	keys    []string // all that were used
	ops     int
	late    string // why clients wrote and read no more before the end
}

// slot is one of the keys that are used at a time.
type slot struct {
	key   string
	value int // that was written last
}

func (r *register) Prepare(ctx context.Context, w *World) error {
	c := &r.cfg
	c.Keys, c.Clients, c.Values = orNumber(c.Keys, defaultKeys), orNumber(c.Clients, defaultClients), orNumber(c.Values, defaultValues)
	c.Every = orDefault(c.Every, defaultEvery)
	if c.Keys > MaxKeys || c.Clients > MaxClients {
		return invalid("at most %d keys and %d clients", MaxKeys, MaxClients)
	}
	if c.Read.Keep["value"] == "" {
		return invalid("read does not keep value: keep: {value: PATH}")
	}
	c.Write.Name, c.Read.Name = "write", "read"
	c.Read.Refused = append(slices.Clone(c.Read.Refused), "404", "NOT_FOUND")
	if c.Read.Keep = maps.Clone(c.Read.Keep); !strings.Contains(c.Read.Keep["value"], " ?? ") {
		c.Read.Keep["value"] += " ?? 0" // an answer without a value says what there is: none
	}
	var err error
	if r.write, err = w.Caller.Prepare(ctx, []string{"key", "value"}, c.Write); err != nil {
		return err
	}
	r.read, err = w.Caller.Prepare(ctx, []string{"key"}, c.Read)
	r.slots = make([]slot, c.Keys)
	for i := range r.slots {
		r.slots[i].key = r.newKey(w)
	}
	return err
}

func orNumber(n, usual int) int {
	if n <= 0 {
		return usual
	}
	return n
}

// newKey returns a key that was never written. Callers hold mu, or are alone.
func (r *register) newKey(w *World) string {
	key := fmt.Sprintf("%s%s-%d", registerKeyPrefix, w.Caller.Run(), len(r.keys))
	r.keys = append(r.keys, key)
	return key
}

// Run writes and reads.
func (r *register) Run(ctx context.Context, w *World) {
	var clients sync.WaitGroup
	for n := range r.cfg.Clients {
		clients.Go(func() { r.client(ctx, w, n) })
	}
	clients.Wait()
}

func (r *register) client(ctx context.Context, w *World, n int) {
	rng := rand.New(rand.NewPCG(w.Seed, 0x72656769+uint64(n))) //nolint:gosec // the same each time
	for seq := int64(0); ; seq++ {
		if !wait(ctx, time.Duration(rng.ExpFloat64()*float64(r.cfg.Every))) || !r.enough() {
			return
		}
		d := load.Draw{Rand: rng, Seq: seq}
		if i := rng.IntN(r.cfg.Keys); rng.IntN(2) == 0 {
			key, value := r.next(w, i)
			r.put(ctx, w, n, d, key, value)
		} else {
			r.mu.Lock()
			key := r.slots[i].key
			r.mu.Unlock()
			r.get(ctx, w, n, d, key)
		}
	}
}

// enough counts operations, and reports false when there have been too many.
func (r *register) enough() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ops >= maxOps {
		r.late = fmt.Sprintf("; it ended after %d operations", maxOps)
		return false
	}
	r.ops++
	return true
}

// next returns what is written next to one of the keys.
func (r *register) next(w *World, i int) (key string, value int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.slots[i]
	if s.value >= r.cfg.Values {
		*s = slot{key: r.newKey(w)}
	}
	s.value++
	return s.key, s.value
}

func (r *register) put(ctx context.Context, w *World, client int, d load.Draw, key string, value int) {
	text := strconv.Itoa(value)
	place := r.history.Begin(linear.Op{Client: client, Kind: linear.Put, Key: key, Value: text, Call: w.Record.Now()})
	s := r.write.Do(ctx, d, load.Values{"key": {Text: key}, "value": {Text: text, JSON: true}})
	switch s.Outcome {
	case load.OK:
		r.history.End(place, w.Record.Now(), nil)
	case load.Refused:
		r.history.Refuse(place, w.Record.Now())
	case load.Failed: // it may have happened, or may yet
	}
}

func (r *register) get(ctx context.Context, w *World, client int, d load.Draw, key string) bool {
	place := r.history.Begin(linear.Op{Client: client, Kind: linear.Get, Key: key, Call: w.Record.Now()})
	s := r.read.Do(ctx, d, load.Values{"key": {Text: key}})
	if s.Outcome == load.Failed {
		return false
	}
	value := s.Kept["value"]
	if s.Outcome == load.Refused || value == "0" {
		value = ""
	}
	r.history.End(place, w.Record.Now(), func(op *linear.Op) { op.Got = value })
	return true
}

// Judge reads every key once more, so that the last write that was acknowledged is missed when it is gone, and then looks for a
// contradiction. A key that cannot be read by then may have lost anything.
func (r *register) Judge(ctx context.Context, w *World) Verdict {
	v := Verdict{Name: r.Name(), Answer: Holds}
	unread := r.readAll(ctx, w)
	ops := r.history.Ops()
	writes, reads, open := tally(ops)
	var wrong findings
	for _, key := range r.keys {
		history := operations(shrink(contradiction(ofKey(ops, key))))
		if len(history) == 0 {
			continue
		}
		at := begun(history)
		if v.History == nil || at < v.At {
			v.History, v.At = history, at
		}
		wrong.add(at, fmt.Sprintf("%s: no order explains what was read, since %v", key, ms(at)))
	}
	wrong.into(&v)
	v.Says = fmt.Sprintf("%s and %s of %s, %d writes without an answer%s", count(writes, "write", "writes"), count(reads, "read", "reads"),
		count(len(r.keys), "key", "keys"), open, r.late)
	switch {
	case v.Answer == Broken:
		v.Says += fmt.Sprintf("; %s not linearizable", count(len(wrong.all), "key is", "keys are"))
	case writes == 0 || reads == 0:
		v.Answer = Unknown
		v.Says += "; that is too little to judge"
	case unread > 0:
		v.Answer = Unknown
		v.Says += fmt.Sprintf("; %s could not be read at the end", count(unread, "key", "keys"))
	default:
		v.Says += "; linearizable"
	}
	return v
}

// readAll reads every key until it is answered, for a while, and returns how many were not.
func (r *register) readAll(ctx context.Context, w *World) (unread int) {
	read := make([]bool, len(r.keys))
	each(ctx, r.keys, func(ctx context.Context, i int, key string) {
		ctx, cancel := context.WithTimeout(ctx, defaultWithin)
		defer cancel()
		for {
			if read[i] = r.get(ctx, w, r.cfg.Clients+i, draw(w, 0x656e64, i), key); read[i] || !wait(ctx, askEvery) {
				return
			}
		}
	})
	for _, ok := range read {
		if !ok {
			unread++
		}
	}
	return unread
}

func tally(ops []linear.Op) (writes, reads, open int) {
	for _, op := range ops {
		switch {
		case op.Kind == linear.Get && op.Outcome == linear.Done:
			reads++
		case op.Kind == linear.Put && op.Outcome == linear.Done:
			writes++
		case op.Kind == linear.Put && op.Outcome == linear.Unknown:
			open++
		}
	}
	return writes, reads, open
}
