package drill

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// refresh is how often the addresses of instances are looked up.
const refresh = time.Second

// direct calls services as a plain gRPC client does: over the addresses that the control API has for their instances, each
// in its turn, without a retry. That is what a system that is not Holdfast's is drilled with.
type direct struct {
	control Control
	ctx     context.Context //nolint:containedctx // that of the goroutines that close joins
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu    sync.Mutex
	conns []*grpc.ClientConn
}

func newDirect(c Control) *direct {
	d := &direct{control: c}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// service dials a service.
func (d *direct) service(name string) (grpc.ClientConnInterface, error) {
	addrs, err := d.addresses(name)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, failure.New(failure.FailedPrecondition, "%s has no instance with a gRPC address", name)
	}
	r := manual.NewBuilderWithScheme("drill")
	r.InitialState(resolver.State{Addresses: addrs})
	conn, err := grpc.NewClient("drill:///"+name, grpc.WithResolvers(r), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry())
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.conns = append(d.conns, conn)
	d.mu.Unlock()
	d.wg.Go(func() { d.follow(name, r) })
	return conn, nil
}

// follow keeps the addresses.
func (d *direct) follow(name string, r *manual.Resolver) {
	for sleep(d.ctx, refresh) {
		if addrs, err := d.addresses(name); err == nil && len(addrs) > 0 {
			r.UpdateState(resolver.State{Addresses: addrs})
		}
	}
}

func (d *direct) addresses(name string) (out []resolver.Address, err error) {
	ctx, cancel := context.WithTimeout(d.ctx, 5*time.Second)
	defer cancel()
	instances, err := d.control.InstancesOf(ctx, name)
	for _, i := range instances {
		if addr := i.Addrs["grpc"]; addr != "" && i.Service != control.ControlService {
			out = append(out, resolver.Address{Addr: addr})
		}
	}
	return out, err
}

func (d *direct) close() {
	d.cancel()
	d.wg.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	for _, c := range d.conns {
		err = errors.Join(err, c.Close())
	}
	_ = err // nobody is left whom it could matter to
}
