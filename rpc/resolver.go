package rpc

import (
	"context"
	"sync"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"

	"github.com/holdfast-go/holdfast/registry"
)

// protocol is the key of a gRPC server's address in an instance's endpoints.
const protocol = "grpc"

// snapshot is what the resolver hands to the balancer, by an attribute of the resolver's state.
type snapshot struct {
	target    *target
	watch     *registry.Watch
	instances map[string]instance // by address
}

// instance is what a call needs to know of a registry.Instance.
type instance struct {
	id, addr string
	zone     string
	weight   int
	draining bool
	suspect  bool
}

type snapshotKey struct{}

// resolverBuilder makes the resolvers of one ClientConn. It is given to it by an option and not registered globally.
type resolverBuilder struct {
	reg    *registry.Registry
	dialer *dialer
}

// Scheme implements resolver.Builder.
func (b *resolverBuilder) Scheme() string { return Scheme }

// Build implements resolver.Builder.
func (b *resolverBuilder) Build(t resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	service := t.Endpoint()
	if err := registry.ValidateService(service); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &watchResolver{
		cc:     cc,
		target: b.dialer.target(t.String(), service),
		watch:  b.reg.Watch(service),
		again:  make(chan struct{}, 1),
		cancel: cancel,
	}
	r.target.follow(r)
	r.loop.Go(func() { r.run(ctx) })
	r.loop.Go(func() { r.repeat(ctx) })
	return r, nil
}

// watchResolver turns the sets of a registry.Watch into resolver states. It never reports an error: what is known
// stays, and the balancer explains to each call what it is.
type watchResolver struct {
	cc     resolver.ClientConn
	target *target
	watch  *registry.Watch
	again  chan struct{} // has an element if what is known is to be given to the balancer again
	cancel context.CancelFunc
	loop   sync.WaitGroup

	mu    sync.Mutex // held to update, so that what is newest comes last
	state resolver.State
}

func (r *watchResolver) run(ctx context.Context) {
	// An empty state first, so that the balancer is there and calls wait with it, where they can be explained to,
	// and not in grpc-go.
	r.update(registry.Set{})
	for {
		set, err := r.watch.Next(ctx)
		if err != nil {
			return
		}
		r.update(set)
	}
}

// repeat gives what is known to the balancer again whenever another part of it may be used.
func (r *watchResolver) repeat(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.again:
			r.mu.Lock()
			_ = r.cc.UpdateState(r.state)
			r.mu.Unlock()
		}
	}
}

func (r *watchResolver) update(set registry.Set) {
	s := &snapshot{target: r.target, watch: r.watch, instances: make(map[string]instance, len(set.Instances))}
	endpoints := make([]resolver.Endpoint, 0, len(set.Instances))
	for _, inst := range set.Instances {
		addr := inst.Endpoints[protocol]
		if addr == "" {
			continue
		}
		next := instance{id: inst.ID, addr: addr, zone: inst.Zone, weight: inst.Weight, draining: inst.Draining, suspect: set.Suspect[inst.ID]}
		prev, taken := s.instances[addr]
		if !taken {
			endpoints = append(endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: addr}}})
		}
		if !taken || next.fresher(prev) {
			s.instances[addr] = next
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = resolver.State{Endpoints: endpoints, Attributes: attributes.New(snapshotKey{}, s)}
	// The error is of the balancer, which has none that would go away by resolving again.
	_ = r.cc.UpdateState(r.state)
}

// fresher decides between two instances with the same address, one of which has taken it over from the other.
func (i instance) fresher(than instance) bool {
	if i.suspect != than.suspect {
		return than.suspect
	}
	return than.draining && !i.draining
}

// ResolveNow implements resolver.Resolver. The watch is always as current as it can be.
func (r *watchResolver) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements resolver.Resolver.
func (r *watchResolver) Close() {
	r.target.unfollow(r)
	r.cancel()
	r.watch.Stop()
	r.loop.Wait()
}
