package rest

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/balance"
)

const (
	// maxProbing bounds the probes that are under way for one target.
	maxProbing = 32
	// probeTimeout is how long one may take; the answer would be out of date.
	probeTimeout = time.Second
	// deaf is the number of probes in a row without a report after which the instances are taken not to have any, and
	// rested the time until they are asked again.
	deaf   = 16
	rested = 10 * time.Second
)

// prober asks instances for their load, for the policy that goes by it. A probe is a request for the health path.
type prober struct {
	running atomic.Int64
	unheard atomic.Int64
	resume  atomic.Pointer[time.Time] // nobody is asked before

	mu     sync.Mutex // guards closed, and the start of loops
	closed bool
	loops  sync.WaitGroup
}

// rests reports whether nobody is asked for now, since nobody answers.
func (b *prober) rests(now time.Time) bool {
	until := b.resume.Load()
	return until != nil && now.Before(*until)
}

// after makes the probes that a pick asks for. It does not wait for them.
func (b *prober) after(g *target, m *members, c balance.Call) {
	var at [balance.MaxProbes]int
	n := m.view.Probes(c, &at)
	if n == 0 || b.rests(c.Now) {
		return
	}
	for _, i := range at[:n] {
		if b.running.Add(1) > maxProbing {
			b.running.Add(-1)
			return
		}
		b.start(g, m.peers[i])
	}
}

func (b *prober) start(g *target, p *peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		b.running.Add(-1)
		return
	}
	b.loops.Go(func() {
		defer b.running.Add(-1)
		report, ok := p.load()
		if ok {
			b.unheard.Store(0)
			g.balancer.Probed(p.node, time.Now(), report)
			return
		}
		if b.unheard.Add(1) >= deaf {
			b.unheard.Store(0)
			b.resume.Store(new(time.Now().Add(rested)))
		}
	})
}

// close waits for the probes that are under way, a second at most.
func (b *prober) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.loops.Wait()
}

// load asks the instance for its load.
func (p *peer) load() (balance.Report, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	scheme := "http://"
	if p.secure {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+p.addr+DefaultHealthPath, nil)
	if err != nil {
		return balance.Report{}, false
	}
	req.Header.Set(balance.HeaderLoadProbe, "1")
	p.use()
	defer p.end()
	resp, err := p.transport.RoundTrip(req)
	if err != nil {
		return balance.Report{}, false
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	_ = resp.Body.Close()
	return balance.ParseReport(resp.Header.Get(balance.HeaderLoad))
}
