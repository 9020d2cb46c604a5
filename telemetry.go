package holdfast

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/lock"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/telemetry"
)

// flushWithin is how long the end of a Service waits for its last spans and metrics to be sent.
const flushWithin = 3 * time.Second

// Telemetry returns what the Service says about itself, for spans and metrics of one's own; nil, which works and says nothing,
// with OTEL_SDK_DISABLED=true. It ends with the Service.
func (s *Service) Telemetry() *telemetry.Telemetry { return s.telemetry }

// openTelemetry has everything that the Service makes say what it does. It sends nothing unless the environment says where to. A
// service is not held up by what is wrong with that: it goes on without.
func (s *Service) openTelemetry() {
	c := &s.cfg
	cfg := c.Telemetry
	for _, f := range []struct {
		to *string
		v  string
	}{{&cfg.Service, s.name}, {&cfg.Instance, c.Settings.Instance}, {&cfg.Version, c.Settings.Version}, {&cfg.Zone, c.Settings.Zone}} {
		if *f.to == "" {
			*f.to = f.v
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = c.Logger
	}
	cfg.Insecure = cfg.Insecure || c.Settings.Insecure
	var err error
	if s.telemetry, err = telemetry.Open(context.Background(), cfg); err != nil {
		c.Logger.Error("no traces and no metrics of calls", "error", err)
		s.telemetry = nil
	}
	t := s.telemetry
	t.SetGlobal()
	for _, to := range []*resilience.Observer{&c.RPCServer.Observer, &c.RPCClient.Observer, &c.HTTPServer.Observer, &c.HTTPClient.Observer} {
		if *to == nil {
			*to = t.Observer()
		}
	}
	if q := t.Queue(c.messagingSystem()); q != nil {
		if c.Queue.Tracer == nil {
			c.Queue.Tracer = q
		}
		if c.Queue.Propagator == nil {
			c.Queue.Propagator = q
		}
		c.Queue.Observer = both{c.Queue.Observer, q}
	}
	c.Queue.Observer = both{c.Queue.Observer, &s.seen}
	c.Replica.Observer = replicaWatch{all: notNil(c.Replica.Observer, t.Replica()), moved: s.moved}
	c.RPCClient.Balance.OnEject = s.movedBy(c.RPCClient.Balance.OnEject)
	c.HTTPClient.Balance.OnEject = s.movedBy(c.HTTPClient.Balance.OnEject)
	if err := t.Watch(telemetry.Gauges{Admission: s.admissions, Instances: s.instances, Groups: s.groups, Holds: s.holds}); err != nil {
		c.Logger.Error("no metrics of this process", "error", err)
	}
}

// closeTelemetry sends what is left. It is called without mu, which those who are asked for the last metrics want.
func (s *Service) closeTelemetry() {
	ctx, cancel := context.WithTimeout(context.Background(), flushWithin)
	defer cancel()
	if err := s.telemetry.Shutdown(ctx); err != nil {
		s.cfg.Logger.Debug("telemetry", "error", err)
	}
}

// messagingSystem is the engine of messages, as OpenTelemetry calls it.
func (c *Config) messagingSystem() string {
	scheme, _, _ := strings.Cut(c.Settings.Queue, ":")
	switch {
	case c.Messages != nil:
		return "_OTHER"
	case scheme == "":
		return inProcess
	case scheme == "amqp", scheme == "amqps":
		return "rabbitmq"
	}
	return scheme
}

// traced returns log with the ids of traces and spans.
func traced(log *slog.Logger) *slog.Logger {
	return slog.New((*telemetry.Telemetry)(nil).Handler(log.Handler()))
}

// both are two Observers of messages; the first may be nil.
type both [2]queue.Observer

// Observe implements queue.Observer.
func (b both) Observe(e queue.Event) {
	for _, o := range b {
		if o != nil {
			o.Observe(e)
		}
	}
}

// replicaWatch tells several Observers, and that the leader of a group has changed.
type replicaWatch struct {
	all   []replica.Observer
	moved func()
}

func notNil(observers ...replica.Observer) (out []replica.Observer) {
	for _, o := range observers {
		if o != nil {
			out = append(out, o)
		}
	}
	return out
}

// Proposed implements replica.Observer.
func (w replicaWatch) Proposed(group string, took time.Duration, err error) {
	for _, o := range w.all {
		o.Proposed(group, took, err)
	}
}

// Read implements replica.Observer.
func (w replicaWatch) Read(group string, level replica.Level, took time.Duration, err error) {
	for _, o := range w.all {
		o.Read(group, level, took, err)
	}
}

// Led implements replica.Observer.
func (w replicaWatch) Led(group, leader string, term uint64) {
	for _, o := range w.all {
		o.Led(group, leader, term)
	}
	w.moved()
}

// Synced implements replica.Observer.
func (w replicaWatch) Synced(bytes, groups int, took time.Duration) {
	for _, o := range w.all {
		o.Synced(bytes, groups, took)
	}
}

// Snapshotted implements replica.Observer.
func (w replicaWatch) Snapshotted(group, peer string, bytes int64, took time.Duration, err error) {
	for _, o := range w.all {
		o.Snapshotted(group, peer, bytes, took, err)
	}
}

// movedBy returns told with what it is told of seen as a change of the state, too.
func (s *Service) movedBy(told func(balance.Event)) func(balance.Event) {
	return func(e balance.Event) {
		if told != nil {
			told(e)
		}
		s.moved()
	}
}

// moved says that the state of this process is another one.
func (s *Service) moved() {
	select {
	case s.change <- struct{}{}:
	default:
	}
}

// admissions are those of the servers.
func (s *Service) admissions() []telemetry.AdmissionGauge {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]telemetry.AdmissionGauge, len(s.loads))
	for i, l := range s.loads {
		out[i] = telemetry.AdmissionGauge{Protocol: l.protocol, Stats: l.Stats()}
	}
	return out
}

// instances are what the clients know, by service. One that is called by gRPC and by HTTP is there with what both know.
func (s *Service) instances() map[string][]balance.Instance {
	all := make(map[string][]balance.Instance)
	for _, b := range s.known() {
		all[b.service] = append(all[b.service], b.instances...)
	}
	return all
}

// known is what one client knows of a service.
type known struct {
	service, protocol string
	instances         []balance.Instance
}

func (s *Service) known() []known {
	s.mu.Lock()
	clients, transport := make([]interface {
		Service() string
		Instances() []balance.Instance
	}, 0, len(s.clients)), s.http
	for _, c := range s.clients {
		clients = append(clients, c)
	}
	s.mu.Unlock()
	all := make([]known, 0, len(clients)+1)
	for _, c := range clients {
		all = append(all, known{c.Service(), "grpc", c.Instances()})
	}
	if transport != nil {
		for service, list := range transport.Instances() {
			all = append(all, known{service, "http", list})
		}
	}
	return all
}

// groups are those of replicated state.
func (s *Service) groups() []replica.Status {
	s.mu.Lock()
	host := s.host
	s.mu.Unlock()
	if host == nil {
		return nil
	}
	groups := host.Groups()
	out := make([]replica.Status, len(groups))
	for i, g := range groups {
		out[i] = g.Status()
	}
	return out
}

// holds are the locks that are held.
func (s *Service) holds() []lock.Hold {
	s.mu.Lock()
	l := s.locks.locker
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	return l.Holds()
}
