// Package staticregistry is a registry whose content is fixed: for a handful of addresses in a setting.
package staticregistry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/driver"
)

var errClosed = errors.New("static registry closed")

// Driver implements driver.Registry. It accepts announcements and ignores them: the setting is the truth.
type Driver struct {
	services map[string][]driver.Record
	once     sync.Once
	done     chan struct{}
}

// New returns a registry of exactly these services. The Service and ID of an instance are filled in when empty:
// the map's key, and the gRPC address, or else the first address in the order of the protocols' names.
func New(services map[string][]registry.Instance) *Driver {
	d := &Driver{services: make(map[string][]driver.Record, len(services)), done: make(chan struct{})}
	for name, instances := range services {
		for _, inst := range instances {
			if inst.Service == "" {
				inst.Service = name
			}
			if inst.ID == "" {
				inst.ID = defaultID(inst)
			}
			d.services[name] = append(d.services[name], driver.Record{Instance: inst})
		}
	}
	return d
}

func defaultID(inst registry.Instance) string {
	if addr, ok := inst.Endpoints["grpc"]; ok {
		return addr
	}
	protocols := make([]string, 0, len(inst.Endpoints))
	for p := range inst.Endpoints {
		protocols = append(protocols, p)
	}
	if len(protocols) == 0 {
		return ""
	}
	return inst.Endpoints[slices.Min(protocols)]
}

// Parse reads "static:orders=10.0.0.1:8080,10.0.0.2:8080;payment=http@10.0.0.3:80". An address is a gRPC one unless it
// starts with "PROTOCOL@"; addresses joined by '+' belong to one instance ("grpc@h:1+http@h:2"). "static:" alone is
// an empty registry. All problems are reported at once.
func Parse(s string) (*Driver, error) {
	rest, ok := strings.CutPrefix(s, "static:")
	if !ok {
		return nil, fmt.Errorf("static registry %q: does not start with \"static:\"", s)
	}
	var errs []error
	services := make(map[string][]registry.Instance)
	for entry := range strings.SplitSeq(rest, ";") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		name, list, ok := strings.Cut(entry, "=")
		if !ok {
			errs = append(errs, fmt.Errorf("static registry %q: no '=' between service and addresses", entry))
			continue
		}
		if err := registry.ValidateService(name); err != nil {
			errs = append(errs, fmt.Errorf("static registry: %w", err))
		}
		if _, twice := services[name]; twice {
			errs = append(errs, fmt.Errorf("static registry: service %q given twice", name))
		}
		services[name] = nil
		seen := make(map[string]bool)
		for item := range strings.SplitSeq(list, ",") {
			inst, err := parseInstance(strings.TrimSpace(item))
			if err != nil {
				errs = append(errs, fmt.Errorf("static registry %s: %w", name, err))
				continue
			}
			if id := defaultID(inst); seen[id] {
				errs = append(errs, fmt.Errorf("static registry %s: address %q given twice", name, id))
			} else {
				seen[id] = true
			}
			services[name] = append(services[name], inst)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return New(services), nil
}

func parseInstance(s string) (registry.Instance, error) {
	inst := registry.Instance{Endpoints: make(map[string]string)}
	for part := range strings.SplitSeq(s, "+") {
		protocol, addr, ok := strings.Cut(part, "@")
		if !ok {
			protocol, addr = "grpc", part
		}
		host, port, err := net.SplitHostPort(addr)
		if err != nil || host == "" || port == "" || protocol == "" {
			return inst, fmt.Errorf("address %q: not [PROTOCOL@]HOST:PORT", part)
		}
		if _, twice := inst.Endpoints[protocol]; twice {
			return inst, fmt.Errorf("address %q: protocol %q given twice", s, protocol)
		}
		inst.Endpoints[protocol] = addr
	}
	return inst, nil
}

// Register implements driver.Registry: it accepts the record and ignores it.
func (d *Driver) Register(ctx context.Context, rec driver.Record, _ time.Duration, _ bool) (driver.Registration, error) {
	if err := d.check(ctx); err != nil {
		return nil, fmt.Errorf("register %s/%s: %w", rec.Service, rec.ID, err)
	}
	return registration{}, nil
}

// List implements driver.Registry.
func (d *Driver) List(ctx context.Context, service string) (driver.Listing, error) {
	if err := d.check(ctx); err != nil {
		return driver.Listing{}, fmt.Errorf("list %s: %w", service, err)
	}
	return driver.Listing{Records: slices.Clone(d.services[service])}, nil
}

// Watch implements driver.Registry: nothing ever changes.
func (d *Driver) Watch(ctx context.Context, service string, _ uint64) (driver.Watcher, error) {
	if err := d.check(ctx); err != nil {
		return nil, fmt.Errorf("watch %s: %w", service, err)
	}
	return &watcher{d: d, done: make(chan struct{})}, nil
}

// Close implements driver.Registry.
func (d *Driver) Close() error {
	d.once.Do(func() { close(d.done) })
	return nil
}

func (d *Driver) check(ctx context.Context) error {
	select {
	case <-d.done:
		return errClosed
	default:
		return ctx.Err()
	}
}

type registration struct{}

func (registration) Renew(ctx context.Context) error                   { return ctx.Err() }
func (registration) Update(ctx context.Context, _ driver.Record) error { return ctx.Err() }
func (registration) Deregister(context.Context) error                  { return nil }

type watcher struct {
	d    *Driver
	once sync.Once
	done chan struct{}
}

func (w *watcher) Next(ctx context.Context) (driver.Update, error) {
	select {
	case <-ctx.Done():
		return driver.Update{}, ctx.Err()
	case <-w.done:
	case <-w.d.done:
	}
	return driver.Update{}, fmt.Errorf("watch: %w", errClosed)
}

func (w *watcher) Close() error {
	w.once.Do(func() { close(w.done) })
	return nil
}
