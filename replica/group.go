package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/replica/internal/core"
	"github.com/holdfast-go/holdfast/replica/internal/found"
	"github.com/holdfast-go/holdfast/replica/internal/wal"
)

// Group is this process's member of a replicated machine. Safe for concurrent use.
type Group struct {
	host    *Host
	id      uint64
	name    string
	machine Machine
	cfg     GroupConfig
	log     *slog.Logger

	member atomic.Pointer[member] // nil while there is no cluster
	ready  chan struct{}          // closed when the machine is current
	ended  chan struct{}          // closed when live has returned
	leave  context.CancelFunc

	refused atomic.Pointer[failure.Error] // why nobody may use this member for now

	proposals sync.Pool // of *proposal
	once      sync.Once // ready

	mu      sync.Mutex
	err     error // why it has failed, for good
	self    uint64
	found   *found.Machine // nil before live
	state   found.State    // what is on the disk
	kept    *wal.Restored  // what the disk had, until the member starts
	why     string
	news    chan struct{} // capacity 1: for live
	watch   chan struct{} // closed and replaced when leader, members or end change
	stopped bool
}

func newGroup(h *Host, id uint64, name string, machine Machine, cfg GroupConfig) *Group {
	return &Group{
		host: h, id: id, name: name, machine: machine, cfg: cfg,
		log:   h.log.With("group", name, "host", h.cfg.Name),
		ready: make(chan struct{}), ended: make(chan struct{}),
		news: make(chan struct{}, 1), watch: make(chan struct{}), proposals: sync.Pool{New: newProposal},
	}
}

// ProposeOption changes a Propose.
type ProposeOption func(*proposeOptions)

type proposeOptions struct {
	once string
}

// Once gives a command a key of the caller's, of at most 256 bytes: of all commands proposed with that key, at whichever
// member and after any restart, only the first is applied, and all get its result. It is remembered for
// GroupConfig.KeyRetention, at most GroupConfig.Keys of them and 64 MiB with their results. "" is none.
func Once(key string) ProposeOption { return func(o *proposeOptions) { o.once = key } }

// maxKey bounds the key of Once.
const maxKey = 256

// Name returns the name given to Host.Group.
func (g *Group) Name() string { return g.name }

// proposal is a core.Proposal whose result somebody waits for.
type proposal struct {
	core.Proposal
	result chan core.Result
}

func newProposal() any {
	p := &proposal{result: make(chan core.Result, 1)}
	p.Done = func(r core.Result) { p.result <- r }
	return p
}

// Propose has command applied by all members and returns this one's result of it, which is the caller's own, or its error.
// The command must not be changed meanwhile. A ctx without deadline gets GroupConfig.Timeout. When ctx ends first, the error is
// DEADLINE_EXCEEDED, CANCELED or ErrNoQuorum, and the command may be applied all the same.
func (g *Group) Propose(ctx context.Context, command []byte, opts ...ProposeOption) (result []byte, err error) {
	if o := g.host.cfg.Observer; o != nil {
		began := time.Now()
		defer func() { o.Proposed(g.name, time.Since(began), err) }()
	}
	var o proposeOptions
	for _, opt := range opts {
		opt(&o)
	}
	if len(o.once) > maxKey {
		return nil, failure.New(failure.InvalidArgument, "the key of Once is longer than %d bytes", maxKey)
	}
	if len(command) > g.cfg.MaxCommand {
		return nil, ErrTooLarge.With(fmt.Sprintf("the command has %d bytes, and at most %d are taken", len(command), g.cfg.MaxCommand))
	}
	ctx, cancel := g.within(ctx)
	defer cancel()
	m, err := g.wait(ctx)
	if err != nil {
		return nil, err
	}
	p := g.proposals.Get().(*proposal)
	p.Command, p.Key = command, o.once
	if err := m.core.Propose(time.Now(), &p.Proposal); err != nil {
		p.Command = nil
		g.proposals.Put(p)
		return nil, g.translate(err)
	}
	m.kick()
	var r core.Result
	select {
	case r = <-p.result:
	case <-ctx.Done():
		if pending, sent := m.core.Cancel(&p.Proposal); pending {
			p.Command = nil
			g.proposals.Put(p)
			return nil, g.late(ctx, m, sent)
		}
		r = <-p.result
	}
	p.Command = nil
	g.proposals.Put(p)
	if r.Err != nil {
		return nil, g.translate(r.Err)
	}
	// The session keeps the result for when the command comes again, and that of a key until it is forgotten.
	return bytes.Clone(r.Bytes), nil
}

// Read calls fn when the machine of this member is as current as level demands, and returns its error. fn may run beside
// Apply, and other reads. It is not called when Read fails.
func (g *Group) Read(ctx context.Context, level Level, fn func() error) error {
	if err := g.current(ctx, level); err != nil {
		return err
	}
	return fn()
}

// current returns when the machine is as current as level demands.
func (g *Group) current(ctx context.Context, level Level) (err error) {
	if o := g.host.cfg.Observer; o != nil {
		began := time.Now()
		defer func() { o.Read(g.name, level, time.Since(began), err) }()
	}
	m := g.member.Load()
	if level > Linearizable && m != nil && m.readable() && !g.isStopped() && g.refused.Load() == nil {
		if level == Eventual || m.core.Fresh(time.Now(), time.Duration(level)) {
			return nil
		}
	}
	ctx, cancel := g.within(ctx)
	defer cancel()
	if level == Eventual {
		return g.readable(ctx)
	}
	if m, err = g.wait(ctx); err != nil {
		return err
	}
	done := make(chan error, 1)
	r := &core.Read{Done: func(err error) { done <- err }}
	if err := m.core.Read(time.Now(), r); err != nil {
		return g.translate(err)
	}
	m.kick()
	select {
	case err = <-done:
	case <-ctx.Done():
		if m.core.CancelRead(r) {
			return g.late(ctx, m, false)
		}
		err = <-done
	}
	if err == nil && !m.readable() { // what it waited for was applied, and what came next has broken the machine
		return g.readable(ctx)
	}
	return g.translate(err)
}

// readable returns when the machine may be looked at, and an error if it may not any more.
func (g *Group) readable(ctx context.Context) error {
	for {
		change := g.changes()
		m, err := g.wait(ctx)
		switch {
		case err != nil:
			return err
		case g.isStopped() || m.over.Load() && g.hasFailed():
			return g.failure()
		case m.readable():
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return g.late(ctx, m, false)
		}
	}
}

func (g *Group) hasFailed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err != nil
}

func (g *Group) isStopped() bool {
	select {
	case <-g.ended:
		return true
	default:
		return false
	}
}

// within gives ctx the default deadline if it has none.
func (g *Group) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, g.cfg.Timeout)
}

// wait returns the member as soon as there is one.
func (g *Group) wait(ctx context.Context) (*member, error) {
	for {
		if err := g.refused.Load(); err != nil {
			return nil, err
		}
		if m := g.member.Load(); m != nil {
			return m, nil
		}
		g.mu.Lock()
		change, stopped := g.watch, g.stopped
		g.mu.Unlock()
		if m := g.member.Load(); m != nil {
			return m, nil
		}
		if stopped {
			return nil, g.failure()
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, g.late(ctx, nil, false)
		}
	}
}

// failure returns why there is no member.
func (g *Group) failure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return g.err
	}
	return ErrStopped.With(fmt.Sprintf("this member of %s has stopped", g.name))
}

// translate returns an error of core as this package's.
func (g *Group) translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, core.ErrFull):
		return ErrFull.With(fmt.Sprintf("too much waits for %s on this member", g.name)).WithRetryAfter(g.host.cfg.Election / 4)
	case errors.Is(err, core.ErrTooLarge):
		return ErrTooLarge
	case errors.Is(err, core.ErrOutcomeUnknown):
		return ErrOutcomeUnknown
	case errors.Is(err, core.ErrResultDropped):
		return ErrOutcomeUnknown.With("the command was applied, once; its result was too large to be kept")
	case errors.Is(err, core.ErrResultTooLarge):
		return ErrResultTooLarge
	case errors.Is(err, core.ErrStopped):
		return g.failure()
	case errors.Is(err, core.ErrNotLeader):
		return ErrChanging.With("the leader has changed").WithCause(err)
	}
	return err
}

// late returns what a call gets whose ctx has ended.
func (g *Group) late(ctx context.Context, m *member, sent bool) error {
	what := "nothing was done"
	if sent {
		what = "it may be applied yet"
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return failure.Wrap(ctx.Err(), failure.Canceled, "%s: the call was given up; %s", g.name, what)
	}
	if err := g.refused.Load(); err != nil && m != nil {
		return err
	}
	g.mu.Lock()
	why := g.why
	g.mu.Unlock()
	if m == nil {
		return ErrNoQuorum.With(fmt.Sprintf("there is no %s yet: %s", g.name, why)).WithCause(ctx.Err())
	}
	if m.core.Status().Leader == 0 {
		return ErrNoQuorum.With(fmt.Sprintf("%s has no leader, since no majority of its members is reachable; %s", g.name, what)).WithCause(ctx.Err())
	}
	return failure.Wrap(ctx.Err(), failure.DeadlineExceeded, "%s: no answer in time; %s", g.name, what)
}

// Ready is closed when this member has a machine that is as current as the group was at some time since Run.
func (g *Group) Ready() <-chan struct{} { return g.ready }

// Done is closed when this member has ended: it has failed, has left, or the host has stopped. Err says which.
func (g *Group) Done() <-chan struct{} { return g.ended }

// Err returns why this member cannot be used: that it has failed, that its data is refused for now (ErrForeign), or, once
// it has ended without a fault, ErrStopped. nil: it can be, or waits for others.
func (g *Group) Err() error {
	if err := g.refused.Load(); err != nil {
		return err
	}
	if g.hasFailed() || g.isStopped() {
		return g.failure()
	}
	return nil
}

// Leader returns the name of the leader, and whether it is this member. "" is that none is known.
func (g *Group) Leader() (name string, self bool) {
	m := g.member.Load()
	if m == nil {
		return "", false
	}
	id := m.core.Status().Leader
	if id == 0 {
		return "", false
	}
	return m.name(id), id == m.id
}

// changed wakes whoever waits for another leader, member or end.
func (g *Group) changed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.watch)
	g.watch = make(chan struct{})
}

func (g *Group) changes() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.watch
}

// poll is how often what is waited for is looked at, beside being told.
const poll = 50 * time.Millisecond

// until waits for something to be so.
func (g *Group) until(ctx context.Context, so func() bool) error {
	t := time.NewTicker(poll)
	defer t.Stop()
	for {
		change := g.changes()
		if so() {
			return nil
		}
		select {
		case <-change:
		case <-t.C:
		case <-g.ended:
			return g.failure()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
