//go:build unix

package host

import (
	"context"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/platform/breakage"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/netns"
	"github.com/holdfast-go/holdfast/platform/supervise"
)

// Inject implements control.System.
func (h *Host) Inject(ctx context.Context, req control.FaultRequest) (control.Fault, error) {
	if err := h.up("breaking it on purpose"); err != nil {
		return control.Fault{}, err
	}
	return h.keeper.Inject(ctx, req)
}

// Renew implements control.System.
func (h *Host) Renew(ctx context.Context, id string) (control.Fault, error) {
	return h.keeper.Renew(ctx, id)
}

// Mend implements control.System.
func (h *Host) Mend(ctx context.Context, id string) error { return h.keeper.Mend(ctx, id) }

// Faults implements control.System.
func (h *Host) Faults() []control.Fault { return h.keeper.Faults() }

// Stats implements control.System.
func (h *Host) Stats() control.Stats {
	stats := control.Stats{Instances: make(map[string]control.InstanceStats)}
	for id, said := range h.agent.Stats() {
		s := said.Stats
		var servers []control.ServerStats
		for _, srv := range s.Servers {
			servers = append(servers, control.ServerStats(srv))
		}
		stats.Instances[id] = control.InstanceStats{
			At: said.At, PID: said.PID,
			InFlight: s.InFlight, Waiting: s.Waiting, Limit: s.Limit, Servers: servers, Served: s.Served, Shed: s.Shed,
			Calls: s.Calls, Attempts: s.Attempts, CPU: s.CPU, Suffered: s.Suffered,
		}
	}
	stats.Edge = h.edgeStats()
	return stats
}

// edgeStats is what the platform's own edges do, taken together.
func (h *Host) edgeStats() control.InstanceStats {
	stats := control.InstanceStats{At: time.Now(), PID: os.Getpid(), Suffered: h.injector.Suffered()}
	for _, e := range h.edges {
		l := e.Load()
		stats.InFlight, stats.Served = stats.InFlight+l.InFlight, stats.Served+l.Served
		stats.Calls, stats.Attempts = stats.Calls+l.Calls, stats.Attempts+l.Attempts
	}
	return stats
}

// keepFaults keeps leases, and mends everything when ctx ends.
func (h *Host) keepFaults(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-h.agent.Changed():
				h.keeper.Changed()
			case <-ctx.Done():
				return
			}
		}
	}()
	err := h.keeper.Run(ctx)
	<-ended
	return err
}

// dial makes the platform's own connections.
func (h *Host) dial() fault.DialFunc { return h.injector.Dial((&net.Dialer{}).DialContext) }

// broken is the host as breakage sees it.
type broken struct{ h *Host }

// World implements breakage.System.
func (b broken) World() breakage.World {
	h := b.h
	w := breakage.World{Registry: h.plane.clients, Queue: h.plane.queues}
	if w.Registry == nil {
		w.Registry = hostsOf(h.url)
	}
	if w.Queue == nil {
		w.Queue = hostsOf(h.queue)
	}
	for _, e := range h.edges {
		w.Edge = append(w.Edge, e.Addr().String())
	}
	for _, s := range h.sys.Services {
		w.Services = append(w.Services, s.Name)
	}
	for _, s := range h.sup.States() {
		i := breakage.Instance{
			ID: s.ID, Service: s.Service, PID: s.PID, Frozen: s.State == supervise.Frozen,
			Settled: s.State == supervise.Ready || s.State == supervise.Draining,
			Follows: h.agent.Follows(s.ID), Clock: h.clocks != nil && h.clocks.Follows(s.ID), Addrs: slices.Sorted(maps.Values(s.Addrs)),
		}
		if reach := h.plane.reach[s.ID]; reach != nil {
			i.Addrs = reach
		}
		w.Instances = append(w.Instances, i)
	}
	return w
}

// Packets implements breakage.System.
func (b broken) Packets() bool { return b.h.net != nil }

// SetPackets implements breakage.System.
func (b broken) SetPackets(id string, links []control.Link) error {
	var rules []netns.Rule
	for _, l := range links {
		s := l.Shape
		rules = append(rules, netns.Rules(l.From, l.To, fault.Shape{
			CutOut: s.CutOut, CutIn: s.CutIn, Refuse: s.Refuse, Reset: s.Reset, ResetEvery: s.ResetEvery,
			Delay: s.Delay, Jitter: s.Jitter, Rate: s.Rate, Loss: s.Loss,
		})...)
	}
	return b.h.net.Switch().Set(id, rules...)
}

// SetPlan implements breakage.System.
func (b broken) SetPlan(ctx context.Context, instance string, plan fault.Plan) error {
	if instance == control.EdgeEnd {
		if err := plan.Validate(); err != nil {
			return failure.Wrap(err, failure.InvalidArgument, "%s", err.Error())
		}
		b.h.injector.Set(plan)
		return nil
	}
	return b.h.agent.SetPlan(ctx, instance, plan)
}

// SetClock implements breakage.System.
func (b broken) SetClock(id string, by time.Duration) error { return b.h.clocks.Set(id, by) }

// Freeze implements breakage.System.
func (b broken) Freeze(id string) error { return b.h.sup.Freeze(id) }

// Thaw implements breakage.System.
func (b broken) Thaw(id string) error { return b.h.sup.Thaw(id) }

// Slow implements breakage.System.
func (b broken) Slow(id string, share float64) error { return b.h.sup.Slow(id, share) }

// Replicas implements breakage.System.
func (b broken) Replicas(service string) int { return b.h.sup.Replicas(service) }

// HoldScale implements breakage.System.
func (b broken) HoldScale(service string) (release func()) {
	return b.h.scaler.Hold(service, "its number is set on purpose, by a fault")
}

// Scale implements breakage.System.
func (b broken) Scale(ctx context.Context, service string, n int) error {
	return b.h.resize(ctx, service, n, service+" scaled to "+count(n, "instance"))
}

// Publish implements breakage.System.
func (b broken) Publish(e control.Event) { b.h.feed.publish(e) }

// hostsOf are the addresses in the URL of an engine.
func hostsOf(engine string) []string {
	u, err := url.Parse(engine)
	if err != nil || u.Host == "" {
		return nil
	}
	var hosts []string
	for _, host := range strings.Split(u.Host, ",") {
		if _, port, err := net.SplitHostPort(host); err == nil && port != "" {
			hosts = append(hosts, host)
		}
	}
	return hosts
}
