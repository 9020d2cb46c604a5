package rpc

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/holdfast-go/holdfast/balance"
)

const (
	// maxProbing bounds the probes that are under way for one target.
	maxProbing = 32
	// probeTimeout is how long one may take; the answer would be out of date.
	probeTimeout = time.Second
	// deaf is the number of probes in a row without a report after which the instances are taken not to have any, and
	// rest the time until they are asked again.
	deaf = 16
	rest = 10 * time.Second
)

// prober asks instances for their load, for the policy that goes by it. A probe is a health check on the connection to
// that instance.
type prober struct {
	conn    atomic.Pointer[grpc.ClientConn]
	running atomic.Int64
	unheard atomic.Int64
	resume  atomic.Pointer[time.Time] // nobody is asked before
}

type probeKey struct{}

// probeOf returns the node that the probe made with ctx is for, or nil if it is none.
func probeOf(ctx context.Context) *balance.Node {
	n, _ := ctx.Value(probeKey{}).(*balance.Node)
	return n
}

// rests reports whether nobody is asked for now, since nobody answers.
func (b *prober) rests(now time.Time) bool {
	until := b.resume.Load()
	return until != nil && now.Before(*until)
}

// after makes the probes that a pick asks for. It does not wait for them.
func (b *prober) after(p *picker, c balance.Call) {
	var at [balance.MaxProbes]int
	n := p.view.Probes(c, &at)
	if n == 0 {
		return
	}
	conn := b.conn.Load()
	if conn == nil || b.rests(c.Now) {
		return
	}
	for _, i := range at[:n] {
		if b.running.Add(1) > maxProbing {
			b.running.Add(-1)
			return
		}
		go b.probe(conn, p.target.balancer, p.nodes[i])
	}
}

func (b *prober) probe(conn *grpc.ClientConn, to *balance.Balancer, n *balance.Node) {
	defer b.running.Add(-1)
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), probeKey{}, n), probeTimeout)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, balance.HeaderLoadProbe, "1")
	var trailer metadata.MD
	_ = conn.Invoke(ctx, healthpb.Health_Check_FullMethodName, &healthpb.HealthCheckRequest{}, &healthpb.HealthCheckResponse{}, grpc.Trailer(&trailer))
	now := time.Now()
	if values := trailer.Get(balance.HeaderLoad); len(values) > 0 {
		if r, ok := balance.ParseReport(values[0]); ok {
			b.unheard.Store(0)
			to.Probed(n, now, r)
			return
		}
	}
	if b.unheard.Add(1) >= deaf {
		b.unheard.Store(0)
		b.resume.Store(new(now.Add(rest)))
	}
}

// pickProbed picks the connection to the node that a probe is for.
func (p *picker) pickProbed(info balancer.PickInfo, n *balance.Node) (balancer.PickResult, error) {
	for i := range p.nodes {
		if p.nodes[i] == n {
			if result, err := p.children[i].Pick(info); err == nil {
				return result, nil
			}
		}
	}
	return balancer.PickResult{}, errNoInstance
}
