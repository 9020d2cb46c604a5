package cli

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/platform/control"
)

// drillConns calls a system's services over gRPC as another service of it would: by the registry, with Holdfast's client, whose
// retries are part of what the system promises. Services that are not Holdfast's are left to plain gRPC.
type drillConns struct {
	ctx     context.Context //nolint:containedctx // that of the drills; dial is called without one
	control *control.Client

	once   sync.Once
	client *holdfast.Service
	err    error
}

// dial returns a connection to a service, nil if it is not Holdfast's.
func (d *drillConns) dial(service string) (grpc.ClientConnInterface, error) {
	ctx, cancel := context.WithTimeout(d.ctx, 5*time.Second)
	defer cancel()
	stats, err := d.control.Stats(ctx)
	if err != nil {
		return nil, err
	}
	instances, err := d.control.InstancesOf(ctx, service)
	if err != nil {
		return nil, err
	}
	for _, i := range instances {
		if _, ours := stats.Instances[i.ID]; ours {
			d.once.Do(func() { d.client, d.err = d.open(ctx) })
			if d.err != nil {
				return nil, d.err
			}
			return d.client.Dial(service), nil
		}
	}
	return nil, nil //nolint:nilnil // it is not ours
}

func (d *drillConns) open(ctx context.Context) (*holdfast.Service, error) {
	info, err := d.control.System(ctx)
	if err != nil {
		return nil, err
	}
	return holdfast.New("drill", func(c *holdfast.Config) {
		c.Settings.Registry, c.Settings.Insecure = info.Registry, info.Network != ""
		c.Logger = slog.New(slog.DiscardHandler)
	}), nil
}

func (d *drillConns) close() {
	if d.client != nil {
		_ = d.client.Close() // its connections have said what there was to say
	}
}
