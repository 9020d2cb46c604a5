package rest

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/registry"
)

const (
	// An instance that could not be connected to is left alone until a connection, tried in the background, comes about. The wait
	// between two tries doubles from the first to the second of these, less a random half.
	probeFirst = 50 * time.Millisecond
	probeMax   = time.Second
	// maxTold is how many instances an error names.
	maxTold = 5
)

// target is one service as this client knows it.
type target struct {
	service  string
	cfg      *ClientConfig
	watch    *registry.Watch
	terms    *terms
	balancer *balance.Balancer
	prober   prober

	used atomic.Int64 // when it was last, in Unix nanoseconds
	now  atomic.Pointer[members]

	mu      sync.Mutex // guards what follows and changes of now
	peers   map[string]*peer
	order   []string // ids of peers, sorted
	leaving map[string]bool
	closed  bool
	loops   sync.WaitGroup
}

// members is who can be picked at the moment. It is not changed once it is published.
type members struct {
	peers   []*peer
	view    *balance.View // of their nodes
	changed chan struct{} // closed when another one was published
}

func newTarget(reg *registry.Registry, service string, cfg *ClientConfig) *target {
	g := &target{
		service: service,
		cfg:     cfg,
		watch:   reg.Watch(service),
	}
	g.terms = newTerms(service, cfg, func(c balance.Config) { g.balancer.Configure(g.balance(c)) })
	g.balancer = balance.New(g.balance(cfg.Balance))
	g.used.Store(time.Now().UnixNano())
	g.now.Store(&members{view: g.balancer.View(time.Now(), nil), changed: make(chan struct{})})
	return g
}

// balance returns cfg with ejections and re-admissions logged.
func (g *target) balance(cfg balance.Config) balance.Config {
	told := cfg.OnEject
	cfg.OnEject = func(e balance.Event) {
		attrs := []slog.Attr{slog.String("service", g.service), slog.String("instance", e.ID), slog.String("reason", e.Reason)}
		if e.Ejected {
			g.cfg.Logger.LogAttrs(context.Background(), slog.LevelWarn, "instance ejected", append(attrs, slog.Int("times", e.Times))...)
		} else {
			g.cfg.Logger.LogAttrs(context.Background(), slog.LevelInfo, "instance re-admitted", append(attrs, slog.Duration("after", e.Out))...)
		}
		if told != nil {
			told(e)
		}
	}
	return cfg
}

// run follows the instances until the watch is stopped.
func (g *target) run() {
	for {
		set, err := g.watch.Next(context.Background())
		if err != nil {
			return // stopped, or the registry was closed: what is known stays
		}
		g.update(set)
	}
}

func (g *target) update(set registry.Set) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	ids := make([]string, 0, len(set.Instances))
	list := make([]balance.Member, 0, len(set.Instances))
	addrs := make([]string, 0, len(set.Instances))
	leaving := make(map[string]bool)
	for _, inst := range set.Instances {
		addr := inst.Endpoints["http"]
		if addr == "" {
			continue
		}
		ids, addrs = append(ids, inst.ID), append(addrs, addr)
		list = append(list, balance.Member{ID: inst.ID, Zone: inst.Zone, Weight: inst.Weight})
		if inst.Draining {
			leaving[inst.ID] = true
		}
	}
	next := make(map[string]*peer, len(ids))
	for i, node := range g.balancer.Update(time.Now(), list) {
		p := g.peers[ids[i]]
		if p == nil || p.addr != addrs[i] {
			p = newPeer(ids[i], addrs[i], g.service, node, g.cfg, g.failed)
		}
		next[ids[i]] = p
	}
	before, left := g.peers, g.leaving
	g.peers, g.order, g.leaving = next, ids, leaving
	g.publish()
	// Only now that nobody picks them any more.
	for id, p := range before {
		switch {
		case next[id] != p:
			p.retire()
		case leaving[id] && !left[id]:
			p.closeIdle()
		}
	}
}

// publish makes those the members that are up; draining ones only if there is nobody else. g.mu is held.
func (g *target) publish() {
	m := &members{changed: make(chan struct{})}
	var nodes []*balance.Node
	for _, leaving := range []bool{false, true} {
		for _, id := range g.order {
			if p := g.peers[id]; g.leaving[id] == leaving && !p.down.Load() {
				m.peers = append(m.peers, p)
				nodes = append(nodes, p.node)
			}
		}
		if len(m.peers) > 0 {
			break
		}
	}
	m.view = g.balancer.View(time.Now(), nodes)
	close(g.now.Swap(m).changed)
}

// pick chooses an instance, and waits for one, until ctx is done or at has come, if none can be reached. safe: the call
// may run twice.
func (g *target) pick(ctx context.Context, now, at time.Time, tried []*balance.Node, safe bool) (*peer, error) {
	g.used.Store(now.UnixNano())
	var late *time.Timer
	for {
		m := g.now.Load()
		c := balance.Call{Now: now, Tried: tried, Rand: rand.Uint64(), Safe: safe}
		if m.view.Keyed() {
			c.Key = balance.KeyOf(ctx)
		}
		if i := m.view.Pick(c); i >= 0 {
			g.prober.after(g, m, c)
			return m.peers[i], nil
		}
		if late == nil {
			late = time.NewTimer(time.Until(at))
			defer late.Stop()
		}
		select {
		case <-m.changed:
			now = time.Now()
		case <-late.C:
			return nil, g.unreachable()
		case <-ctx.Done():
			if failure.CodeOf(ctx.Err()) == failure.DeadlineExceeded {
				return nil, g.unreachable()
			}
			return nil, ctx.Err()
		}
	}
}

// done ends an attempt at p that began at start, and whose answer came, or that failed, after took.
func (g *target) done(p *peer, now, start time.Time, took time.Duration, s balance.Sample, h balance.Health) {
	g.balancer.DoneTook(p.node, now, start, took, s, h)
}

// unreachable says why nobody could be picked.
func (g *target) unreachable() *failure.Error {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := failure.New(failure.Unavailable, "%s has no instance that can be reached", g.service)
	if len(g.order) == 0 {
		return e.WithCause(fmt.Errorf("no instance of %s with an http endpoint is known", g.service))
	}
	var why []string
	for _, id := range g.order[:min(len(g.order), maxTold)] {
		p := g.peers[id]
		reason := "not tried again yet"
		if r := p.reason.Load(); r != nil {
			reason = *r
		}
		why = append(why, fmt.Sprintf("%s (%s): %s", id, p.addr, reason))
	}
	if more := len(g.order) - len(why); more > 0 {
		why = append(why, fmt.Sprintf("and %d more", more))
	}
	return e.WithCause(fmt.Errorf("%s", strings.Join(why, "; ")))
}

// failed remembers that a connection to p could not be made.
func (g *target) failed(p *peer, err error) {
	g.watch.Unreachable(p.id)
	reason := err.Error()
	p.reason.Store(&reason)
	if p.down.Load() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.peers[p.id] != p || p.down.Swap(true) {
		return
	}
	g.publish()
	g.loops.Go(func() { g.probe(p) })
	g.cfg.Logger.Info("instance cannot be reached", slog.String("service", g.service), slog.String("instance", p.id),
		slog.String("addr", p.addr), slog.Any("error", err))
}

// probe tries to connect to p until that works or p left. One goroutine does it for all calls, so that no call has to
// be the one that finds out.
func (g *target) probe(p *peer) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	g.loops.Go(func() {
		select {
		case <-p.gone:
			cancel()
		case <-ctx.Done():
		}
	})
	wait := probeFirst
	for {
		timer := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-timer.C:
		case <-p.gone:
			timer.Stop()
			return
		}
		c, err := p.dial(ctx)
		if err == nil {
			_ = c.Close()
			break
		}
		if ctx.Err() != nil {
			return
		}
		g.watch.Unreachable(p.id)
		reason := err.Error()
		p.reason.Store(&reason)
		wait = min(2*wait, probeMax)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	p.down.Store(false)
	if g.peers[p.id] != p {
		return
	}
	g.publish()
	g.cfg.Logger.Info("instance can be reached again", slog.String("service", g.service), slog.String("instance", p.id), slog.String("addr", p.addr))
}

// close stops the loops, joins them and closes what is idle.
func (g *target) close() {
	g.watch.Stop()
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		for _, p := range g.peers {
			p.retire()
		}
	}
	g.mu.Unlock()
	g.loops.Wait()
	g.prober.close()
}

func (g *target) closeIdle() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.peers {
		p.closeIdle()
	}
}
