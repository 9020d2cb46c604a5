package cli

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/rpc"
)

// drillConns calls a system's services over gRPC as another service of it would: by the registry, with Holdfast's client, whose
// retries and hedges are part of what the system promises. Services that are not Holdfast's are left to plain gRPC.
type drillConns struct {
	ctx     context.Context //nolint:containedctx // that of the drills; dial is called without one
	control *control.Client

	mu   sync.Mutex
	open []*holdfast.Service
}

// dial returns a connection to a service, nil if it is not Holdfast's.
func (d *drillConns) dial(service string) (grpc.ClientConnInterface, error) {
	ctx, cancel := context.WithTimeout(d.ctx, 10*time.Second)
	defer cancel()
	ours, err := d.ours(ctx, service)
	if err != nil || !ours {
		return nil, err
	}
	info, err := d.control.System(ctx)
	if err != nil {
		return nil, err
	}
	methods, err := load.Methods(ctx, d.client(info, nil).Dial(service))
	if err != nil {
		return nil, err
	}
	// Which methods may be repeated is in the code that services are called with; here there is none, so it is asked for.
	declared := make(map[string]rpc.MethodPolicy, len(methods))
	for _, m := range methods {
		p := rpc.MethodPolicy{Safe: m.Safe}
		if m.Pure {
			p.Hedge = resilience.HedgePolicy{Share: pureShare}
		}
		declared[m.Name] = p
	}
	return d.client(info, declared).Dial(service), nil
}

// pureShare is the share of hedges that calls without side effects have by themselves.
const pureShare = 0.04

// ours says whether a service's instances are Holdfast's: they speak to the platform.
func (d *drillConns) ours(ctx context.Context, service string) (bool, error) {
	stats, err := d.control.Stats(ctx)
	if err != nil {
		return false, err
	}
	instances, err := d.control.InstancesOf(ctx, service)
	for _, i := range instances {
		if _, speaks := stats.Instances[i.ID]; speaks {
			return true, nil
		}
	}
	return false, err
}

// client returns a service that calls others, and has nothing else.
func (d *drillConns) client(info control.Info, methods map[string]rpc.MethodPolicy) *holdfast.Service {
	svc := holdfast.New("drill", func(c *holdfast.Config) {
		c.Settings.Registry, c.Settings.Insecure = info.Registry, info.Network != ""
		c.Logger = slog.New(slog.DiscardHandler)
		c.RPCClient.Methods = methods
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = append(d.open, svc)
	return svc
}

func (d *drillConns) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, svc := range d.open {
		_ = svc.Close() // its connections have said what there was to say
	}
}
