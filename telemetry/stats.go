package telemetry

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

const (
	// maxMethods bounds the methods that have a series of their own, of the calls that are made and of those that are served.
	maxMethods = 1000
	// maxResults bounds the results that a method has series for.
	maxResults = 64
)

// side is one of the instruments that durations are counted by.
type side struct {
	methods atomic.Int64
	series  atomic.Int64
	others  atomic.Pointer[series] // what there was no series for
}

// other returns the series for what there is none for, as the SDK calls it.
func (s *side) other() *series {
	if o := s.others.Load(); o != nil {
		return o
	}
	s.others.CompareAndSwap(nil, newSeries(attribute.NewSet(attribute.Bool("otel.metric.overflow", true))))
	return s.others.Load()
}

// stats counts and measures calls. Nothing in it allocates for a method and a result that it knows. Durations are counted
// here and not by an instrument of the SDK's, which looks at every attribute of a series again whenever it is added to, once
// for each reader.
type stats struct {
	mu       sync.Mutex // held to add to what follows
	methods  atomic.Pointer[map[methodKey]*method]
	services atomic.Pointer[map[string]*service]
	sides    [2][2]side // of calls made and served, by protocol
}

func (s *stats) side(server bool, p resilience.Protocol) *side {
	if server {
		return &s.sides[1][p]
	}
	return &s.sides[0][p]
}

type methodKey struct {
	server   bool
	protocol resilience.Protocol
	service  string // of calls that are made
	name     string
	route    string // of those that are served by HTTP
}

// method is what is measured of one method.
type method struct {
	service  *service // that is called
	side     *side
	latency  resilience.Latency
	protocol resilience.Protocol
	about    []attribute.KeyValue

	mu      sync.Mutex // held to add
	results atomic.Pointer[[]result]
}

// result is how calls end, and the series that they are counted in.
type result struct {
	key int
	*series
}

func newStats() *stats {
	s := &stats{}
	s.methods.Store(&map[methodKey]*method{})
	s.services.Store(&map[string]*service{})
	return s
}

// called returns the method of a call that is made.
func (s *stats) called(info resilience.CallInfo) *method {
	k := methodKey{protocol: info.Protocol, service: info.Service, name: info.Method}
	if info.Protocol == resilience.HTTP {
		k.name = knownMethod(k.name)
	}
	m := (*s.methods.Load())[k]
	if m == nil {
		m = s.add(k)
	}
	if b := info.Budget; b != nil && m.service.budget.Load() != b {
		m.service.budget.Store(b)
	}
	return m
}

// served returns the method of a call that was served.
func (s *stats) served(p resilience.Protocol, name string, e resilience.ServeEnd) *method {
	k := methodKey{server: true, protocol: p, name: name}
	if p == resilience.HTTP {
		k.name, k.route = knownMethod(k.name), e.Route
	}
	if m := (*s.methods.Load())[k]; m != nil {
		return m
	}
	return s.add(k)
}

func (s *stats) add(k methodKey) *method {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.methods.Load()
	if m := old[k]; m != nil {
		return m
	}
	side := s.side(k.server, k.protocol)
	if n := side.methods.Load(); n >= maxMethods {
		k.name, k.route = other, ""
		if n >= 2*maxMethods {
			k.service = other
		}
		if m := old[k]; m != nil {
			return m
		}
	}
	side.methods.Add(1)
	m := &method{protocol: k.protocol, side: side}
	m.results.Store(&[]result{})
	if k.protocol == resilience.GRPC {
		m.about = append(m.about, attribute.String("rpc.system.name", "grpc"), attribute.String("rpc.method", valid(strings.TrimPrefix(k.name, "/"))))
	} else {
		m.about = append(m.about, attribute.String("http.request.method", k.name))
	}
	switch {
	case !k.server:
		m.about = append(m.about, attribute.String("server.address", valid(k.service)))
		m.service = s.service(k.service)
	case k.protocol == resilience.HTTP:
		m.about = append(m.about, attribute.String("http.route", valid(first(k.route, other))))
	}
	next := maps.Clone(old)
	k.name, k.route, k.service = strings.Clone(k.name), strings.Clone(k.route), strings.Clone(k.service)
	next[k] = m
	s.methods.Store(&next)
	return m
}

// service returns what is counted of a service that is called. s.mu is held.
func (s *stats) service(name string) *service {
	old := *s.services.Load()
	if found := old[name]; found != nil {
		return found
	}
	next := maps.Clone(old)
	made := &service{name: strings.Clone(name)}
	next[made.name] = made
	s.services.Store(&next)
	return made
}

// record counts a call that took so long.
func (m *method) record(took time.Duration, code failure.Code, status int) {
	key := int(code)
	if m.protocol == resilience.HTTP && status != 0 {
		key = status
	}
	for _, r := range *m.results.Load() {
		if r.key == key {
			r.add(took)
			return
		}
	}
	m.result(key, code, status).add(took)
}

// result returns the series for calls that end so.
func (m *method) result(key int, code failure.Code, status int) *series {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.results.Load()
	if len(old) >= maxResults {
		key = -1 // all others
	}
	for _, r := range old {
		if r.key == key {
			return r.series
		}
	}
	if m.side.series.Add(1) >= maxSeries { // the last is for what is beyond
		m.side.series.Add(-1)
		made := m.side.other()
		next := append(slices.Clone(old), result{key, made})
		m.results.Store(&next)
		return made
	}
	about := slices.Clone(m.about)
	bad := ""
	switch {
	case m.protocol == resilience.GRPC:
		about = append(about, attribute.String("rpc.response.status_code", code.String()))
		if code != failure.OK {
			bad = code.String()
		}
	case key < 0:
		bad = other
	case status == 0 && code != failure.OK:
		bad = code.String()
	case status != 0:
		about = append(about, attribute.Int("http.response.status_code", status))
		if status >= 500 || m.service != nil && status >= 400 {
			bad = statusWord(status)
		}
	}
	if bad != "" {
		about = append(about, attribute.String("error.type", bad))
	}
	made := newSeries(attribute.NewSet(about...))
	next := append(slices.Clone(old), result{key, made})
	m.results.Store(&next)
	return made
}

// observe notes how long a call took that was served.
func (m *method) observe(now time.Time, took time.Duration) {
	m.latency.Observe(now, took, balance.Latency)
}

// service is what is counted of one service that is called.
type service struct {
	name     string
	attempts [maxOutcomes + 1][2][2]atomic.Int64 // by outcome, the last are those that were lost; of hedges beside, and of streams
	refused  [len(refusers)]atomic.Int64
	budget   atomic.Pointer[resilience.Budget]
}

// maxOutcomes is more than there are.
const maxOutcomes = 32

// refusers are what can refuse a call on this side; the last stands for what else there may be.
var refusers = [...]string{"budget", "throttle", "bulkhead", "rate limit", "breaker", "other"}

func (s *service) count(o resilience.Outcome, lost, hedge, stream bool) {
	i := min(int(o), maxOutcomes-1)
	if lost {
		i = maxOutcomes
	}
	s.attempts[i][truth(hedge)][truth(stream)].Add(1)
}

func (s *service) refuse(by string) {
	for i, name := range refusers {
		if name == by || i == len(refusers)-1 {
			s.refused[i].Add(1)
			return
		}
	}
}

// watch has the counts read when metrics are.
func (s *stats) watch(meter metric.Meter) error {
	attempts, err := meter.Int64ObservableCounter("holdfast.client.attempts", metric.WithUnit("{attempt}"),
		metric.WithDescription("Attempts of calls, by how they ended."))
	if err != nil {
		return err
	}
	refused, err := meter.Int64ObservableCounter("holdfast.client.refused", metric.WithUnit("{call}"),
		metric.WithDescription("Calls that this side refused, or a further attempt of which."))
	if err != nil {
		return err
	}
	tokens, err := meter.Float64ObservableGauge("holdfast.budget.tokens", metric.WithUnit("{token}"),
		metric.WithDescription("What there is of the budget for further attempts."))
	if err != nil {
		return err
	}
	_, err = meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		now := time.Now()
		for _, s := range *s.services.Load() {
			name := attribute.String("service", valid(s.name))
			for i := range s.attempts {
				outcome := resilience.Outcome(min(i, 255)).String() //nolint:gosec // bounded
				if i == maxOutcomes {
					outcome = "lost"
				}
				for j := range s.attempts[i] {
					for k := range s.attempts[i][j] {
						if n := s.attempts[i][j][k].Load(); n > 0 {
							to.ObserveInt64(attempts, n, metric.WithAttributes(name, attribute.String("outcome", outcome), attribute.Bool("hedge", j == 1), attribute.Bool("stream", k == 1)))
						}
					}
				}
			}
			for i := range s.refused {
				if n := s.refused[i].Load(); n > 0 {
					to.ObserveInt64(refused, n, metric.WithAttributes(name, attribute.String("by", refusers[i])))
				}
			}
			if b := s.budget.Load(); b != nil {
				to.ObserveFloat64(tokens, b.Tokens(now), metric.WithAttributes(name))
			}
		}
		return nil
	}, attempts, refused, tokens)
	return err
}
