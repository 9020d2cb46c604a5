package rpc

import (
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"

	"github.com/holdfast-go/holdfast/balance"
)

const (
	balancerName  = "holdfast"
	serviceConfig = `{"loadBalancingConfig":[{"` + balancerName + `":{}}]}`
)

// grpc-go finds balancers by their name in a global registry and nowhere else. The builder has no state; all that
// differs between clients comes with the resolver's state.
func init() { //nolint:gochecknoinits // see above
	balancer.Register(balancerBuilder{})
}

type balancerBuilder struct{}

// Name implements balancer.Builder.
func (balancerBuilder) Name() string { return balancerName }

// ParseConfig implements balancer.ConfigParser. There is nothing to configure from outside.
func (balancerBuilder) ParseConfig(json.RawMessage) (serviceconfig.LoadBalancingConfig, error) {
	return struct {
		serviceconfig.LoadBalancingConfig
	}{}, nil
}

// Build implements balancer.Builder.
func (balancerBuilder) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	// For resolvers of somebody else, which bring no target with them.
	foreign := newTarget(opts.Target.Endpoint(), ClientConfig{Logger: slog.New(slog.DiscardHandler)}.defaults())
	b := &sharded{
		ClientConn: cc,
		snapshot:   &snapshot{target: foreign},
		next:       &succession{done: make(chan struct{})},
		states:     make(map[string]childState),
	}
	b.child = endpointsharding.NewBalancer(b, opts, balancer.Get(pickfirst.Name).Build, endpointsharding.Options{})
	return b
}

// sharded keeps one connection to each instance (a pick_first child of endpointsharding) and makes the pickers. What is
// measured about the instances is in the target's balancer, which outlives pickers, updates and this balancer.
type sharded struct {
	balancer.ClientConn // of the parent, to intercept the child's UpdateState
	child               balancer.Balancer

	mu       sync.Mutex
	snapshot *snapshot
	nodes    map[string]*balance.Node // by instance id
	states   map[string]childState    // by address
	next     *succession              // of the current picker
	closed   bool
}

// childState is what was last seen of a connection, to notice changes.
type childState struct {
	state  connectivity.State
	picker balancer.Picker
	failed bool // unreachable since it was ready last
}

// UpdateClientConnState implements balancer.Balancer.
func (b *sharded) UpdateClientConnState(ccs balancer.ClientConnState) error {
	b.mu.Lock()
	s, ok := ccs.ResolverState.Attributes.Value(snapshotKey{}).(*snapshot)
	if !ok {
		// A resolver of somebody else: every address is an instance.
		s = &snapshot{target: b.snapshot.target, instances: make(map[string]instance)}
		for _, e := range ccs.ResolverState.Endpoints {
			if addr := address(e); addr != "" {
				s.instances[addr] = instance{id: addr, addr: addr}
			}
		}
	}
	members := make([]balance.Member, 0, len(s.instances))
	for _, inst := range s.instances {
		members = append(members, balance.Member{ID: inst.id, Zone: inst.zone, Weight: inst.weight})
	}
	b.snapshot = s
	s.target.roster.meet(s.instances)
	b.nodes = make(map[string]*balance.Node, len(members))
	for _, n := range s.target.balancer.Update(time.Now(), members) {
		b.nodes[n.ID()] = n
	}
	state := ccs.ResolverState
	// A connection each to those that are used, and none to the others.
	state.Endpoints = slices.DeleteFunc(slices.Clone(state.Endpoints), func(e resolver.Endpoint) bool {
		inst, known := s.instances[address(e)]
		return known && !s.target.balancer.InSubset(b.nodes[inst.id])
	})
	b.mu.Unlock()
	// Its error says that there are no endpoints. That is no error here, and must not make grpc-go resolve again.
	_ = b.child.UpdateClientConnState(balancer.ClientConnState{ResolverState: state})
	return nil
}

func address(e resolver.Endpoint) string {
	if len(e.Addresses) == 0 {
		return ""
	}
	return e.Addresses[0].Addr
}

// UpdateState is called by the child whenever a connection has changed.
func (b *sharded) UpdateState(state balancer.State) {
	children := endpointsharding.ChildStatesFromPicker(state.Picker)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.watchConnections(children)
	old := b.next
	b.next = &succession{done: make(chan struct{})}
	next := b.picker(children, state.ConnectivityState)
	b.ClientConn.UpdateState(next)
	// Only now: those who wait for it go to the new picker at once.
	old.none, _ = next.Picker.(*noPicker)
	close(old.done)
}

// watchConnections tells the registry and the log about instances that cannot be reached.
func (b *sharded) watchConnections(children []endpointsharding.ChildState) {
	states := make(map[string]childState, len(children))
	for _, c := range children {
		addr := address(c.Endpoint)
		inst, known := b.snapshot.instances[addr]
		old := b.states[addr]
		now := childState{c.State.ConnectivityState, c.State.Picker, old.failed}
		switch now.state {
		case connectivity.TransientFailure:
			// Every further failure comes with a new picker, which has its error.
			if known && (old.state != now.state || old.picker != now.picker) && b.snapshot.watch != nil {
				b.snapshot.watch.Unreachable(inst.id)
			}
			if known && old.picker != now.picker {
				b.snapshot.target.roster.lost(inst.id, connectError(c))
			}
			if !old.failed {
				now.failed = true
				level := slog.LevelWarn
				if inst.draining { // it has said that it is about to leave
					level = slog.LevelDebug
				}
				b.log(level, "instance unreachable", inst, slog.Any("error", connectError(c)))
			}
		case connectivity.Ready:
			if known && old.state != now.state {
				b.snapshot.target.roster.lost(inst.id, nil)
			}
			if old.failed {
				now.failed = false
				b.log(slog.LevelInfo, "instance reachable again", inst)
			}
		default:
		}
		states[addr] = now
	}
	b.states = states
}

func (b *sharded) log(level slog.Level, msg string, inst instance, attrs ...slog.Attr) {
	t := b.snapshot.target
	attrs = append([]slog.Attr{slog.String("service", t.service), slog.String("instance", inst.id), slog.String("addr", inst.addr)}, attrs...)
	t.cfg.Logger.LogAttrs(t.background, level, "rpc client: "+msg, attrs...)
}

// picker makes the picker for the connections as they are.
func (b *sharded) picker(children []endpointsharding.ChildState, state connectivity.State) balancer.State {
	ready := &picker{target: b.snapshot.target}
	leaving := &picker{target: ready.target}
	for _, c := range children {
		inst, ok := b.snapshot.instances[address(c.Endpoint)]
		if !ok || c.State.ConnectivityState != connectivity.Ready {
			continue
		}
		p := ready
		if inst.draining {
			p = leaving
		}
		p.add(b.nodes[inst.id], inst, c.State.Picker)
	}
	if len(ready.nodes) == 0 {
		ready = leaving
	}
	// Also of none, so that those who come back are known to have been away.
	ready.view = ready.target.balancer.View(time.Now(), ready.nodes)
	if len(ready.nodes) > 0 {
		return balancer.State{ConnectivityState: connectivity.Ready, Picker: ready}
	}
	return balancer.State{
		ConnectivityState: state,
		Picker:            &noPicker{snapshot: b.snapshot, children: children, next: b.next},
	}
}

// ResolverError implements balancer.Balancer. What is known stays.
func (b *sharded) ResolverError(error) {}

// UpdateSubConnState implements balancer.Balancer; grpc-go no longer calls it.
func (b *sharded) UpdateSubConnState(balancer.SubConn, balancer.SubConnState) {}

// ExitIdle implements balancer.Balancer.
func (b *sharded) ExitIdle() { b.child.ExitIdle() }

// Close implements balancer.Balancer.
func (b *sharded) Close() {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.next.done)
	}
	b.mu.Unlock()
	b.child.Close()
}
