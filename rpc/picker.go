package rpc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
)

// picker picks among the instances whose connections are ready. It is immutable.
type picker struct {
	target    *target
	view      *balance.View
	nodes     []*balance.Node // of view
	instances []instance
	children  []balancer.Picker
}

func (p *picker) add(n *balance.Node, inst instance, child balancer.Picker) {
	p.nodes = append(p.nodes, n)
	p.instances = append(p.instances, inst)
	p.children = append(p.children, child)
}

// Pick implements balancer.Picker.
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	c := balance.Call{Rand: rand.Uint64()} //nolint:gosec // not a secret
	a := attemptOf(info.Ctx)
	if a != nil {
		c.Now, c.Tried, c.Safe = a.picking()
	} else if probed := probeOf(info.Ctx); probed != nil {
		return p.pickProbed(info, probed)
	} else {
		c.Now = time.Now()
	}
	if p.view.Keyed() {
		c.Key = balance.KeyOf(info.Ctx)
	}
	i := p.view.Pick(c)
	if i < 0 {
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	}
	node, start := p.nodes[i], c.Now
	if a != nil && a.plan.Hedged && slices.Contains(c.Tried, node) {
		return balancer.PickResult{}, errNoOther
	}
	result, err := p.children[i].Pick(info)
	if err != nil {
		// The connection has just gone; a new picker is on its way.
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	}
	node.Start()
	if a != nil {
		a.picked(start, p.instances[i], node, p.view, p.target.balancer)
	}
	result.Done = func(d balancer.DoneInfo) {
		now := time.Now()
		// Without a transport (Err is nil then, and nothing was sent) nothing is learnt, least of all a latency.
		sample, health := balance.None, balance.Neutral
		if a != nil {
			sample, health = a.done(now, node, d)
		}
		p.target.balancer.Done(node, now, start, sample, health)
	}
	p.target.prober.after(p, c)
	return result, nil
}

// errNoOther fails a hedge: beside an attempt of the same call, an instance would only be asked twice.
var errNoOther = status.Error(codes.Unavailable, "no other instance for a hedge")

// noPicker is the picker while no connection is ready. It fails calls at once, with what they need to wait for one and
// to explain themselves: waiting inside grpc-go would end in a DEADLINE_EXCEEDED that names nobody.
type noPicker struct {
	snapshot *snapshot
	children []endpointsharding.ChildState
	next     *succession
}

// succession is how a picker is followed by another one.
type succession struct {
	done chan struct{} // closed when that has happened
	none *noPicker     // the other one, if it has no instance either; written before done is closed
}

var errNoInstance = status.Error(codes.Unavailable, "no instance reachable")

// Pick implements balancer.Picker.
func (p *noPicker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	if a := attemptOf(info.Ctx); a != nil {
		a.unpicked(p)
	}
	return balancer.PickResult{}, errNoInstance
}

// await waits until there may be an instance, and returns nil; or until ctx is done or the time has come, and returns
// the picker of that moment.
func (p *noPicker) await(ctx context.Context, until time.Time) *noPicker {
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	for p != nil {
		select {
		case <-p.next.done:
			p = p.next.none
		case <-t.C:
			return p
		case <-ctx.Done():
			return p
		}
	}
	return nil
}

// failure says which instances are known and why none of them can be reached.
func (p *noPicker) failure(service string) *failure.Error {
	return failure.Wrap(p.reason(), failure.Unavailable, "no instance of %s is reachable", service)
}

func (p *noPicker) reason() error {
	if len(p.snapshot.instances) == 0 {
		return errors.New("none is known")
	}
	known := make([]string, 0, len(p.children))
	for _, c := range p.children {
		inst := p.snapshot.instances[address(c.Endpoint)]
		known = append(known, fmt.Sprintf("%s %s %v", inst.id, inst.addr, connectError(c)))
	}
	sort.Strings(known)
	if more := len(known) - maxExplained; more > 0 {
		known = append(known[:maxExplained], fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("known: %s", strings.Join(known, ", "))
}

// maxExplained is how many instances an error names.
const maxExplained = 8

// connectError is why a connection is not ready.
func connectError(c endpointsharding.ChildState) error {
	switch c.State.ConnectivityState {
	case connectivity.TransientFailure:
		if _, err := c.State.Picker.Pick(balancer.PickInfo{}); err != nil {
			return err
		}
		return errors.New("unreachable")
	case connectivity.Shutdown:
		return errors.New("closed")
	default:
		return errors.New("connecting")
	}
}
