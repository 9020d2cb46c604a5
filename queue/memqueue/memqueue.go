// Package memqueue keeps messages in memory: the engine of tests, and of a service that runs alone. It has every
// capability, loses everything with the process, and can be broken on purpose (see Faults).
//
// It is exact about what engines are vague about, and follows the clock, so that tests in virtual time see what a real
// engine does in real time.
package memqueue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	defaultMaxMessage = 1 << 20
	defaultMaxBytes   = 256 << 20
	defaultRetention  = 7 * 24 * time.Hour
	// deduplicates is for how long IDs are known; as many as maxIDs at least, so that a flood does not fill the memory.
	deduplicates = time.Minute
	maxIDs       = 1 << 19
	// keep is the most messages of a topic that are there for groups to come.
	keep = 10_000
	// overhead is what a message counts beyond its data.
	overhead = 256
	// grace is how long a receiver has for deliveries that were revoked.
	grace = 2 * time.Second
)

var (
	errDown    = errors.New("memqueue: the engine is down")
	errCut     = errors.New("memqueue: the connection is cut")
	errClosed  = errors.New("memqueue: closed")
	errNoTopic = errors.New("memqueue: no such topic")
	errConfirm = errors.New("memqueue: the confirmation was lost")
)

// Config tunes an Engine. Its zero value works.
type Config struct {
	// MaxMessage is the most bytes of data in a message. Default: 1 MiB.
	MaxMessage int
	// MaxBytes is about how much is kept, over all topics and groups. Default: 256 MiB.
	MaxBytes int64
}

// Engine is one client of an engine in memory. Those made by Connect share what is kept.
type Engine struct {
	b    *broker
	link *link

	closed    bool // the broker's mu
	receivers map[*receiver]struct{}
}

var _ driver.Engine = (*Engine)(nil)

// New returns an empty engine.
func New(cfg Config) *Engine {
	if cfg.MaxMessage <= 0 {
		cfg.MaxMessage = defaultMaxMessage
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	b := &broker{cfg: cfg, topics: make(map[string]*topic), link: newLink(errDown), engines: make(map[*Engine]struct{})}
	return b.connect()
}

// Connect returns another client of the same engine, with a connection of its own.
func (e *Engine) Connect() *Engine { return e.b.connect() }

// broker is what clients share.
type broker struct {
	cfg  Config
	link *link

	mu      sync.Mutex
	topics  map[string]*topic
	engines map[*Engine]struct{}
	bytes   int64 // of the entries of groups and of what topics keep
	kept    int64 // of these, what topics keep
	seq     uint64
	lose    int // confirmations
}

func (b *broker) connect() *Engine {
	e := &Engine{b: b, link: newLink(errCut), receivers: make(map[*receiver]struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.engines[e] = struct{}{}
	return e
}

// topic needs the broker's mu, as do all below it.
type topic struct {
	spec   driver.Topic
	groups map[string]*group
	kept   []*stored // oldest first, for new groups
	ids    [2]map[messageID]struct{}
	turned time.Time
}

// messageID is what is unique about a message.
type messageID struct{ source, id string }

// stored is a message as the engine keeps it; it is never changed.
type stored struct {
	m    *driver.Message
	at   time.Time
	seq  uint64
	size int64
}

// Capabilities implements driver.Engine.
func (e *Engine) Capabilities() driver.Capabilities {
	return driver.Capabilities{
		Ordered: true, Delay: true, Counts: true, Retains: true, Deduplicates: deduplicates, MaxMessage: e.b.cfg.MaxMessage,
	}
}

// call brings a call to the engine and back: fn is called with the broker's mu.
func (e *Engine) call(ctx context.Context, fn func() error) error {
	if err := e.pass(ctx); err != nil {
		return err
	}
	e.b.mu.Lock()
	if e.closed {
		e.b.mu.Unlock()
		return errClosed
	}
	err := fn()
	e.b.mu.Unlock()
	if err != nil {
		return err
	}
	return e.pass(ctx)
}

func (e *Engine) pass(ctx context.Context) error {
	for {
		if err := e.link.pass(ctx); err != nil {
			return err
		}
		if err := e.b.link.pass(ctx); err != nil {
			return err
		}
		if !e.link.blocked() {
			return nil
		}
	}
}

// Declare implements driver.Engine.
func (e *Engine) Declare(ctx context.Context, spec driver.Topic) error {
	return e.call(ctx, func() error {
		t := e.b.topic(spec.Name)
		if spec.Retention > 0 {
			t.spec.Retention = spec.Retention
		}
		for _, name := range spec.Groups {
			e.b.group(t, name)
		}
		return nil
	})
}

// topic returns a topic, made if there is none.
func (b *broker) topic(name string) *topic {
	t := b.topics[name]
	if t == nil {
		t = &topic{spec: driver.Topic{Name: name, Retention: defaultRetention}, groups: make(map[string]*group), turned: time.Now()}
		b.topics[name] = t
	}
	return t
}

// group returns a group of a topic, made if there is none: it gets what the topic keeps.
func (b *broker) group(t *topic, name string) *group {
	g := t.groups[name]
	if g == nil {
		g = &group{b: b, topic: t.spec.Name, name: name, lanes: make(map[string]*lane), receivers: make(map[*receiver]struct{})}
		t.groups[name] = g
		b.expire(t, time.Now())
		for _, s := range t.kept {
			g.add(s)
		}
	}
	return g
}

// find returns a group that exists.
func (b *broker) find(topicName, name string) (*group, error) {
	t := b.topics[topicName]
	if t == nil {
		return nil, errNoTopic
	}
	if g := t.groups[name]; g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("memqueue: topic %s has no group %s", topicName, name)
}

// Publish implements driver.Engine.
func (e *Engine) Publish(ctx context.Context, topicName string, messages []*driver.Message) []error {
	return e.publish(ctx, messages, func(b *broker) (func(*driver.Message) error, error) {
		t := b.topics[topicName]
		if t == nil {
			return nil, errNoTopic
		}
		now := time.Now()
		b.expire(t, now)
		return func(m *driver.Message) error { return b.put(t, m, now) }, nil
	})
}

// PublishTo implements driver.Engine.
func (e *Engine) PublishTo(ctx context.Context, topicName, groupName string, messages []*driver.Message) []error {
	return e.publish(ctx, messages, func(b *broker) (func(*driver.Message) error, error) {
		if b.topics[topicName] == nil {
			return nil, errNoTopic
		}
		g := b.group(b.topics[topicName], groupName)
		now := time.Now()
		return func(m *driver.Message) error {
			s := b.store(m, now)
			if err := b.makeRoom(s, 1); err != nil {
				return err
			}
			g.add(s)
			return nil
		}, nil
	})
}

// publish calls, for each message, what open returns, with the broker's mu.
func (e *Engine) publish(ctx context.Context, messages []*driver.Message, open func(*broker) (func(*driver.Message) error, error)) []error {
	var errs []error
	fail := func(i int, err error) {
		if errs == nil {
			errs = make([]error, len(messages))
		}
		errs[i] = err
	}
	err := e.call(ctx, func() error {
		put, err := open(e.b)
		if err != nil {
			return err
		}
		lost := e.b.lose > 0
		if lost {
			e.b.lose--
		}
		for i, m := range messages {
			switch err := put(m); {
			case err != nil:
				fail(i, err)
			case lost:
				fail(i, errConfirm)
			}
		}
		return nil
	})
	if err != nil {
		for i := range messages {
			fail(i, err)
		}
	}
	return errs
}

// store returns a copy of m: publishers go on with theirs.
func (b *broker) store(m *driver.Message, now time.Time) *stored {
	b.seq++
	return &stored{m: clone(m), at: now, seq: b.seq, size: int64(len(m.Data)) + overhead}
}

func clone(m *driver.Message) *driver.Message {
	c := *m
	c.Data = slices.Clone(m.Data)
	c.Attributes = maps.Clone(m.Attributes)
	return &c
}

// makeRoom makes room for s, copies times, or reports why there is none. What topics keep for groups to come goes for it, the
// oldest first, whatever its topic, as far as that helps.
func (b *broker) makeRoom(s *stored, copies int) error {
	need := s.size * int64(copies)
	switch {
	case len(s.m.Data) > b.cfg.MaxMessage:
		return driver.ErrTooLarge
	case b.bytes-b.kept+need > b.cfg.MaxBytes:
		return driver.ErrFull
	}
	for b.bytes+need > b.cfg.MaxBytes {
		b.forget(b.oldest(), 1)
	}
	return nil
}

// oldest returns the topic that has kept a message for longest. There must be one.
func (b *broker) oldest() *topic {
	var oldest *topic
	for _, t := range b.topics {
		if len(t.kept) > 0 && (oldest == nil || t.kept[0].seq < oldest.kept[0].seq) {
			oldest = t
		}
	}
	return oldest
}

// put gives a message to every group.
func (b *broker) put(t *topic, m *driver.Message, now time.Time) error {
	id := messageID{m.Source, m.ID}
	switch {
	case t.knows(id):
		return nil
	case len(m.Data) > b.cfg.MaxMessage:
		return driver.ErrTooLarge
	}
	s := b.store(m, now)
	if err := b.makeRoom(s, len(t.groups)+1); err != nil {
		return err
	}
	if len(t.kept) >= keep {
		b.forget(t, 1)
	}
	t.remember(id, now)
	t.kept = append(t.kept, s)
	b.bytes += s.size
	b.kept += s.size
	for _, g := range t.groups {
		g.add(s)
	}
	return nil
}

func (t *topic) knows(id messageID) bool {
	for _, ids := range t.ids {
		if _, ok := ids[id]; ok {
			return true
		}
	}
	return false
}

func (t *topic) remember(id messageID, now time.Time) {
	if t.ids[0] == nil || now.Sub(t.turned) >= deduplicates || len(t.ids[0]) >= maxIDs {
		t.ids[1], t.ids[0], t.turned = t.ids[0], make(map[messageID]struct{}), now
	}
	t.ids[0][id] = struct{}{}
}

// expire drops what is too old to be kept for groups to come. Groups that exist have it on their own account.
func (b *broker) expire(t *topic, now time.Time) {
	n := 0
	for n < len(t.kept) && now.Sub(t.kept[n].at) > t.spec.Retention {
		n++
	}
	b.forget(t, n)
}

func (b *broker) forget(t *topic, n int) {
	for _, s := range t.kept[:n] {
		b.bytes -= s.size
		b.kept -= s.size
	}
	clear(t.kept[:n])
	t.kept = t.kept[n:]
}

// Bury implements driver.Engine.
func (e *Engine) Bury(ctx context.Context, topicName, groupName string, m *driver.Message) error {
	return e.call(ctx, func() error {
		t := e.b.topic(topicName)
		g := e.b.group(t, groupName)
		s := e.b.store(m, time.Now())
		if err := e.b.makeRoom(s, 1); err != nil {
			return err
		}
		e.b.bytes += s.size
		g.dead = append(g.dead, s)
		return nil
	})
}

// Dead implements driver.Engine.
func (e *Engine) Dead(ctx context.Context, topicName, groupName, after string, limit int) ([]driver.Dead, error) {
	var out []driver.Dead
	err := e.call(ctx, func() error {
		from := uint64(0)
		if after != "" {
			var err error
			if from, err = readPosition(after); err != nil {
				return err
			}
		}
		t := e.b.topics[topicName]
		if t == nil || t.groups[groupName] == nil {
			return nil
		}
		for _, s := range t.groups[groupName].dead {
			if s.seq > from && len(out) < limit {
				out = append(out, driver.Dead{Position: writePosition(s.seq), Buried: s.at, Message: clone(s.m)})
			}
		}
		return nil
	})
	return out, err
}

// Exhume implements driver.Engine.
func (e *Engine) Exhume(ctx context.Context, topicName, groupName string, positions []string) (int, error) {
	n := 0
	err := e.call(ctx, func() error {
		t := e.b.topics[topicName]
		if t == nil || t.groups[groupName] == nil {
			return nil
		}
		g := t.groups[groupName]
		gone := make(map[uint64]bool, len(positions))
		for _, p := range positions {
			if seq, err := readPosition(p); err == nil {
				gone[seq] = true
			}
		}
		g.dead = slices.DeleteFunc(g.dead, func(s *stored) bool {
			if gone[s.seq] {
				e.b.bytes -= s.size
				n++
			}
			return gone[s.seq]
		})
		return nil
	})
	return n, err
}

// Lag implements driver.Engine.
func (e *Engine) Lag(ctx context.Context, topicName, groupName string) (driver.Lag, error) {
	var lag driver.Lag
	err := e.call(ctx, func() error {
		g, err := e.b.find(topicName, groupName)
		if err == nil {
			lag = g.lag()
		}
		return err
	})
	return lag, err
}

// Groups implements driver.Engine.
func (e *Engine) Groups(ctx context.Context) ([]driver.Group, error) {
	var out []driver.Group
	err := e.call(ctx, func() error {
		for _, name := range slices.Sorted(maps.Keys(e.b.topics)) {
			for _, group := range slices.Sorted(maps.Keys(e.b.topics[name].groups)) {
				out = append(out, driver.Group{Topic: name, Group: group})
			}
		}
		return nil
	})
	return out, err
}

// Subscribe implements driver.Engine.
func (e *Engine) Subscribe(ctx context.Context, s driver.Subscription) (driver.Receiver, error) {
	var r *receiver
	err := e.call(ctx, func() error {
		r = newReceiver(e, s)
		r.attach()
		e.receivers[r] = struct{}{}
		return nil
	})
	if err != nil {
		if r != nil {
			_ = r.Close()
		}
		return nil, err
	}
	return r, nil
}

// Close implements driver.Engine. What is kept stays for other clients.
func (e *Engine) Close() error {
	e.b.mu.Lock()
	e.closed = true
	delete(e.b.engines, e)
	receivers := slices.Collect(maps.Keys(e.receivers))
	e.b.mu.Unlock()
	for _, r := range receivers {
		_ = r.Close()
	}
	return nil
}
