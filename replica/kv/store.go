package kv

import (
	"context"
	"iter"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica"
)

// The defaults of a Config, and the longest key.
const (
	MaxKeyBytes           = 4096
	DefaultMaxBytes       = 1 << 30
	DefaultHistoryEvents  = 10_000
	DefaultHistoryBytes   = 16 << 20
	DefaultExpiryInterval = 100 * time.Millisecond
)

// Config configures a Store. The zero value works.
type Config struct {
	// Group is that of the replicated group, whose MaxCommand bounds a value or transaction.
	Group replica.GroupConfig
	// MaxBytes bounds the keys and values together: what would make them more is refused with ErrFull, by the member that is
	// asked (several at once may exceed it a little). What makes them no more than they are, deleting or a value that is not
	// longer than the one before, is always possible. 0: 1 GiB.
	MaxBytes int64
	// HistoryEvents and HistoryBytes bound what this member keeps of the past for those who watch. 0: 10,000 and 16 MiB.
	HistoryEvents int
	HistoryBytes  int64
	// ExpiryInterval is how often Run looks for keys whose time is over. 0: 100 ms.
	ExpiryInterval time.Duration
}

func (c Config) defaults() Config {
	if c.MaxBytes <= 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.HistoryEvents <= 0 {
		c.HistoryEvents = DefaultHistoryEvents
	}
	if c.HistoryBytes <= 0 {
		c.HistoryBytes = DefaultHistoryBytes
	}
	if c.ExpiryInterval <= 0 {
		c.ExpiryInterval = DefaultExpiryInterval
	}
	return c
}

// Store is this process's member of a replicated map. Its errors are those of [replica.Group] and of this package. Safe
// for concurrent use.
type Store struct {
	name    string
	cfg     Config
	group   group
	machine *Machine
}

// group is what a Store needs of a *replica.Group.
type group interface {
	Propose(ctx context.Context, command []byte, opts ...replica.ProposeOption) ([]byte, error)
	Read(ctx context.Context, level replica.Level, fn func() error) error
	Leader() (name string, self bool)
	Done() <-chan struct{}
	Err() error
}

// New makes host a member of the store of that name. Run the host; run the Store, too, if keys have a TTL.
func New(host *replica.Host, name string, cfg Config) (*Store, error) {
	m := NewMachine(cfg)
	g, err := host.Group(name, m, cfg.Group)
	if err != nil {
		return nil, err //nolint:wrapcheck // says which group, and why
	}
	return &Store{name: name, cfg: cfg.defaults(), group: g, machine: m}, nil
}

// Group returns the group underneath, for its status and members. Nothing but this package may propose to it.
func (s *Store) Group() *replica.Group {
	g, _ := s.group.(*replica.Group)
	return g
}

// WriteOption changes a Put, CompareAndSwap, Delete or Do.
type WriteOption func(*write)

type write struct {
	ttl         time.Duration
	conditional bool
	revision    uint64
	propose     []replica.ProposeOption
}

// TTL makes the key end by itself, not before d from now, counted by the leader's clock in whole milliseconds rounded up. A
// put without it makes the key stay, whatever was before. It has no effect on Delete and Do.
func TTL(d time.Duration) WriteOption { return func(w *write) { w.ttl = d } }

// IfRevision makes the write happen only if the key's last write was that revision, or, with 0, if there is no such key. It
// is ErrConflict otherwise. It has no effect on Do, which has comparisons of its own.
func IfRevision(revision uint64) WriteOption {
	return func(w *write) { w.conditional, w.revision = true, revision }
}

// Once makes a write that is called again, anywhere, with the same key happen once: all get the first one's result. See
// [replica.Once].
func Once(key string) WriteOption {
	return func(w *write) { w.propose = append(w.propose, replica.Once(key)) }
}

func options(opts []WriteOption) *write {
	if len(opts) == 0 {
		return &unconditional
	}
	var w write
	for _, o := range opts {
		o(&w)
	}
	return &w
}

// unconditional is a write without options. It is never changed.
var unconditional write

// Put writes a key and returns the revision of that. value must not be modified before it returns.
func (s *Store) Put(ctx context.Context, key string, value []byte, opts ...WriteOption) (revision uint64, err error) {
	w := options(opts)
	if err := checkKey(key); err != nil {
		return 0, err
	}
	if w.ttl < 0 {
		return 0, failure.New(failure.InvalidArgument, "the TTL is negative").WithReason("MALFORMED", domain)
	}
	if err := s.room([]Op{PutOp(key, value, 0)}); err != nil {
		return 0, err
	}
	b, err := s.group.Propose(ctx, encodeSingle(kindPut, key, value, w), w.propose...)
	if err != nil {
		return 0, err //nolint:wrapcheck // for callers
	}
	return decodeRevision(b)
}

// CompareAndSwap is Put if the key's last write was at revision was (0: if there is no such key), and ErrConflict otherwise.
func (s *Store) CompareAndSwap(ctx context.Context, key string, was uint64, value []byte, opts ...WriteOption) (revision uint64, err error) {
	return s.Put(ctx, key, value, append(opts[:len(opts):len(opts)], IfRevision(was))...)
}

// Delete removes a key and returns whether it was there, and the store's revision after that.
func (s *Store) Delete(ctx context.Context, key string, opts ...WriteOption) (revision uint64, existed bool, err error) {
	w := options(opts)
	if err := checkKey(key); err != nil {
		return 0, false, err
	}
	b, err := s.group.Propose(ctx, encodeSingle(kindDelete, key, nil, w), w.propose...)
	if err != nil {
		return 0, false, err //nolint:wrapcheck // for callers
	}
	return decodeDeleted(b)
}

// Do runs a transaction. It is ErrResultTooLarge, with nothing changed, if that would find more than MaxResultBytes.
func (s *Store) Do(ctx context.Context, t Txn, opts ...WriteOption) (TxnResult, error) {
	if err := t.validate(); err != nil {
		return TxnResult{}, err
	}
	if err := s.room(t.Then, t.Else); err != nil {
		return TxnResult{}, err
	}
	b, err := s.group.Propose(ctx, encodeTxn(t), options(opts).propose...)
	if err != nil {
		return TxnResult{}, err //nolint:wrapcheck // for callers
	}
	return decodeTxnResult(b)
}

// Get returns the item of a key, and whether there is one, as current as level demands.
func (s *Store) Get(ctx context.Context, level replica.Level, key string) (item Item, ok bool, err error) {
	err = s.group.Read(ctx, level, func() error {
		item, ok = s.machine.Get(key)
		return nil
	})
	return item, ok, err //nolint:wrapcheck // for callers
}

// View returns the whole store, as current as level demands, at one revision. It takes no time, whatever the size.
func (s *Store) View(ctx context.Context, level replica.Level) (v *View, err error) {
	err = s.group.Read(ctx, level, func() error {
		v = s.machine.View()
		return nil
	})
	return v, err //nolint:wrapcheck // for callers
}

// Watch returns a watcher of the changes, as this member applies them, after a revision of keys that begin with prefix.
// See Machine.Watch. It ends with this member: once that has failed, was removed or has stopped, and what it had applied is
// seen, the error is that of its group.
func (s *Store) Watch(prefix string, after uint64) *Watcher {
	w := s.machine.Watch(prefix, after)
	w.ended, w.why = s.group.Done(), s.group.Err
	return w
}

// Follow yields the items whose keys begin with prefix as they are, as current as level demands, and then every change, for
// as long as ctx allows. It begins again when a watch alone would miss something, so that a consumer that applies what
// is yielded in order has the same as the store:
//
//	for change, err := range store.Follow(ctx, replica.Linearizable, "settings/") { … }
//
// The error, after which it ends, is ctx's, that of the reading, or of this member when that has failed, was removed or has
// stopped: what was yielded is not kept up to date any more.
func (s *Store) Follow(ctx context.Context, level replica.Level, prefix string) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for {
			view, err := s.View(ctx, level)
			if err != nil {
				yield(Change{}, err)
				return
			}
			change := Change{Reset: true, Revision: view.Revision()}
			for item := range view.Prefix(prefix) {
				change.Items = append(change.Items, item)
			}
			w := s.Watch(prefix, view.Revision())
			for err == nil {
				if !yield(change, nil) {
					return
				}
				change = Change{}
				change.Events, err = w.Next(ctx)
				change.Revision = w.Revision()
			}
			if !isCompacted(err) {
				yield(Change{}, err)
				return
			}
		}
	}
}

// Change is what Follow yields.
type Change struct {
	// Reset: forget what was before, Items is all there is. Otherwise Events is what has changed since.
	Reset  bool
	Items  []Item
	Events []Event
	// Revision is the store's, with this change.
	Revision uint64
}

// Stats returns how much this member's copy holds.
func (s *Store) Stats() Stats { return s.machine.Stats() }

// Name returns "kv NAME".
func (s *Store) Name() string { return "kv " + s.name }

// Run ends keys whose time is over, also when nobody writes, until ctx ends: a lifecycle component, run by every member.
// Only the leader does it; another member, when keys are long overdue, because the leader's process may not.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.ExpiryInterval)
	defer tick.Stop()
	clock := logClock{looked: time.Now()}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		next, now, ok := s.machine.nextExpiry()
		clock.look(now, time.Now())
		if !ok {
			continue
		}
		_, leads := s.group.Leader()
		if !leads && !clock.over(next, 21*s.cfg.ExpiryInterval) || leads && !clock.over(next, 0) && !clock.maybe(next) {
			continue
		}
		pctx, cancel := context.WithTimeout(ctx, 10*s.cfg.ExpiryInterval)
		_, err := s.group.Propose(pctx, encodeExpire()) // asked again with the next tick
		cancel()
		clock.sure = clock.sure || err == nil
	}
}

// logClock estimates what the time of the log is by now, to know when it is worth asking: what ends is decided by the
// leader, in the log. That time goes on at nine to eleven tenths of the time that passes, and may be hours off this
// machine's wall clock. Each command says anew what it is, so that an estimate that was early is not repeated for long.
type logClock struct {
	time   int64         // of the last command, in ns of Unix time
	since  time.Time     // it was that not before
	looked time.Time     // last
	passed time.Duration // from since to looked
	sure   bool          // there was a command since all this began: until then, all members may have been down for long
}

// look takes the time of the last command as it is now.
func (c *logClock) look(t int64, now time.Time) {
	if t != c.time {
		c.time, c.since = t, c.looked
	}
	c.looked, c.passed = now, max(0, now.Sub(c.since))
}

// over reports whether t is over by that much, if the log's time goes on as time does.
func (c *logClock) over(t int64, by time.Duration) bool {
	return c.passed-by >= time.Duration(t-c.time)
}

// maybe reports whether t may be over already: the leader's wall clock, if it is like this one, is past it, and the
// log's time, which follows that, can be, as far as is known.
func (c *logClock) maybe(t int64) bool {
	left := time.Duration(t - c.time)
	return c.looked.UnixNano() >= t && (!c.sure || c.passed >= left-left/10)
}

// room returns ErrFull if one of the branches would leave more than there may be, and more than there is.
func (s *Store) room(branches ...[]Op) error {
	s.machine.mu.RLock()
	defer s.machine.mu.RUnlock()
	have := s.machine.bytes
	for _, branch := range branches {
		if more := s.machine.growth(branch); more > 0 && have+more > s.cfg.MaxBytes {
			return ErrFull.With("the store holds %d bytes of at most %d, and this would make it %d more", have, s.cfg.MaxBytes, more)
		}
	}
	return nil
}

func checkKey(key string) error {
	if key == "" || len(key) > MaxKeyBytes {
		return failure.New(failure.InvalidArgument, "a key of %d bytes; 1 to %d are allowed", len(key), MaxKeyBytes).WithReason("MALFORMED", domain)
	}
	return nil
}
