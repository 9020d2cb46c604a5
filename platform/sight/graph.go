package sight

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	// window is over how long rates are: long enough for five exports, short enough to see at once what changes.
	window = 5 * time.Second
	// silence is after how long an instance that exports every second is taken to be gone. One that exports less often has twice
	// the time between two of its exports, at most maxSilence.
	silence    = 4 * time.Second
	maxSilence = 3 * time.Minute
	// sampleWindow and maxSampled bound which traces are looked at where there are no metrics.
	sampleWindow = 10 * time.Second
	maxSampled   = 20_000
)

// business are codes that are answers of a service, not failures of it: what was asked for cannot be.
var business = map[string]bool{
	"": true, "0": true, "OK": true, "NOT_FOUND": true, "ALREADY_EXISTS": true, "INVALID_ARGUMENT": true, "FAILED_PRECONDITION": true,
	"PERMISSION_DENIED": true, "UNAUTHENTICATED": true, "OUT_OF_RANGE": true, "CANCELED": true, "CANCELLED": true, "ABORTED": true,
}

// isBad reports whether a code, of an error or of HTTP, is that of a failure.
func isBad(code string) bool {
	if len(code) == 3 && code[0] >= '1' && code[0] <= '5' {
		return code[0] == '5'
	}
	return !business[code]
}

// classify finds out what the series has to do with the graph.
func (s *series) classify() {
	attr := make(map[string]string, len(s.labels))
	for _, l := range s.labels {
		attr[l.key] = l.value
	}
	s.bad = isBad(cmp.Or(attr[keyErrorType], attr[keyStatusCode], grpcStatus(attr[keyGRPCStatus]), attr[keyHTTPStatus]))
	switch s.name {
	case "rpc.client.call.duration", "rpc.client.duration", "http.client.request.duration":
		s.role, s.peer = roleCall, cmp.Or(attr[keyServer], attr[keyPeerService])
	case "rpc.server.call.duration", "rpc.server.duration", "http.server.request.duration":
		s.role = roleServe
	case "holdfast.client.attempts":
		s.role, s.peer = roleAttempts, cmp.Or(attr["service"], attr["holdfast.service"], attr[keyServer])
		s.hedge = attr["hedge"] == "true" || attr[keyHedge] == "true"
		// Streams are in no duration of calls; and what was not made, for want of an instance, was not tried.
		s.apart = attr["stream"] == "true" || attr["outcome"] == "no instance"
	case "messaging.client.sent.messages", "messaging.publish.messages":
		s.role, s.peer = rolePublish, attr[keyTopic]
	case "messaging.process.duration":
		s.role, s.peer = roleProcess, attr[keyTopic]
	}
	if strings.HasPrefix(s.name, "rpc.") && s.role != roleNone {
		s.older()
	}
	// How long something took is told by a histogram, and how often it happened by what counts.
	if s.kind == kindGauge || s.kind != kindHistogram && s.role != roleAttempts && s.role != rolePublish {
		s.role = roleNone
	}
	if (s.role == roleCall || s.role == rolePublish || s.role == roleProcess || s.role == roleAttempts) && s.peer == "" {
		s.role = roleNone
	}
}

// older reads the duration of a call as OpenTelemetry's earlier conventions have it, in milliseconds. Who moves on from them may
// say both for a while (OTEL_SEMCONV_STABILITY_OPT_IN=rpc/dup), and then it is the other one that counts.
func (s *series) older() {
	s.old = !strings.HasSuffix(s.name, ".call.duration")
	if !s.old {
		s.of.current[s.role] = true
	}
	if s.unit == "ms" {
		s.unit, s.bounds = "s", slices.Clone(s.bounds)
		for i := range s.bounds {
			s.bounds[i] /= 1000
		}
	}
}

// grpcStatus is the name of a code that is said as a number.
func grpcStatus(code string) string {
	if n, err := strconv.ParseUint(code, 10, 32); err == nil && n <= 16 {
		return failure.Code(n).String()
	}
	return ""
}

// tally counts per second, and how long it took.
type tally struct {
	rate, bad float64
	bounds    []float64
	bucket    []float64
	took      []time.Duration // p50 and p99, if they are known already
}

// add counts what a series had after a time, which lasted seconds.
func (t *tally) add(s *series, after int64, seconds float64) {
	s.read(after, func(p *sample) {
		n := float64(p.count)
		if s.kind == kindCounter {
			n = p.value
		}
		t.rate += n / seconds
		if s.bad {
			t.bad += n / seconds
		}
		if len(s.bounds) == 0 {
			return
		}
		if t.bounds == nil {
			t.bounds, t.bucket = s.bounds, make([]float64, len(s.bounds)+1)
		}
		if !slices.Equal(t.bounds, s.bounds) {
			return
		}
		for i, n := range p.bucket {
			t.bucket[i] += float64(n)
		}
	})
}

func (t *tally) quantile(part float64) time.Duration {
	if len(t.took) == 2 {
		if part > .5 {
			return t.took[1]
		}
		return t.took[0]
	}
	counts := make([]uint64, len(t.bucket))
	for i, n := range t.bucket {
		counts[i] = uint64(math.Round(n))
	}
	return time.Duration(quantile(t.bounds, counts, part) * float64(time.Second))
}

type edgeKey struct{ from, to, kind, topic string }

// sums is what goes into a graph.
type sums struct {
	nodes     map[string]*tally
	reporting map[string]int
	instances map[[2]string]*tally
	calls     map[edgeKey]*tally
	attempts  map[edgeKey]float64 // of calls: neither hedges nor streams
	hedges    map[edgeKey]float64
	published map[edgeKey]*tally // from, topic
	processed map[edgeKey]*tally // to, topic
	callers   map[string]bool    // services that measure their calls
	servers   map[string]bool    // and those that measure what they serve
}

func get[K comparable, V any](m map[K]*V, k K) *V {
	v := m[k]
	if v == nil {
		v = new(V)
		m[k] = v
	}
	return v
}

// span is the time that the rates of an instance are over: between two exports, that many seconds. ok is false for one that has
// gone silent.
func (r *reporter) span(now time.Time) (after time.Time, seconds float64, ok bool) {
	n := len(r.exports)
	if n == 0 || now.Sub(r.exports[n-1]) > r.patience() {
		return time.Time{}, 0, false
	}
	last := r.exports[n-1]
	from := n - 1
	for from > 0 && last.Sub(r.exports[from]) < window {
		from--
	}
	seconds = last.Sub(r.exports[from]).Seconds()
	if from == n-1 || seconds <= 0 { // the first export of all
		return last.Add(-time.Millisecond), 1, true
	}
	return r.exports[from], seconds, true
}

// patience is after how long without an export the instance is taken to be gone.
func (r *reporter) patience() time.Duration {
	if len(r.exports) < 2 {
		return silence
	}
	least := maxSilence // a pause is no habit
	for i := 1; i < len(r.exports); i++ {
		least = min(least, r.exports[i].Sub(r.exports[i-1]))
	}
	return min(max(silence, 2*least), maxSilence)
}

func (m *metrics) sums(now time.Time) *sums {
	out := &sums{
		nodes: map[string]*tally{}, reporting: map[string]int{}, instances: map[[2]string]*tally{}, calls: map[edgeKey]*tally{},
		attempts: map[edgeKey]float64{}, hedges: map[edgeKey]float64{}, published: map[edgeKey]*tally{}, processed: map[edgeKey]*tally{},
		callers: map[string]bool{}, servers: map[string]bool{},
	}
	m.metricMu.Lock()
	defer m.metricMu.Unlock()
	for _, r := range m.sources {
		since, seconds, ok := r.span(now)
		if !ok {
			continue
		}
		after := m.ms(since)
		get(out.nodes, r.service)
		out.reporting[r.service]++
		for _, s := range r.series {
			if s.old && r.current[s.role] {
				continue
			}
			switch s.role { //nolint:exhaustive // the others have nothing to do with it
			case roleServe:
				out.servers[r.service] = true
				get(out.nodes, r.service).add(s, after, seconds)
				get(out.instances, [2]string{r.service, r.instance}).add(s, after, seconds)
			case roleCall:
				out.callers[r.service] = true
				get(out.calls, edgeKey{r.service, s.peer, control.EdgeCall, ""}).add(s, after, seconds)
			case roleAttempts:
				var t tally
				t.add(s, after, seconds)
				key := edgeKey{r.service, s.peer, control.EdgeCall, ""}
				get(out.calls, key) // also where streams alone go
				switch {
				case s.hedge:
					out.hedges[key] += t.rate
				case !s.apart:
					out.attempts[key] += t.rate
				}
			case rolePublish:
				get(out.published, edgeKey{from: r.service, topic: s.peer}).add(s, after, seconds)
			case roleProcess:
				get(out.processed, edgeKey{to: r.service, topic: s.peer}).add(s, after, seconds)
				get(out.instances, [2]string{r.service, r.instance})
			}
		}
	}
	return out
}

// Graph implements control.Sight. Edges that were there and are quiet now stay, with a rate of 0, for as long as their metrics do.
// So is an edge of streams alone: they are in no rate.
func (s *Store) Graph() control.Graph {
	now := time.Now()
	sums := s.metrics.sums(now)
	g := control.Graph{At: now.UTC(), Window: window, Nodes: []control.Node{}, Edges: []control.Edge{}}
	sampled := s.sampled(now, sums)
	for key, t := range sums.calls {
		if t.bounds == nil && slices.ContainsFunc(sampled, func(e control.Edge) bool { return e.From == key.from && e.To == key.to && e.Kind == key.kind }) {
			continue // streams alone, of which traces know more
		}
		g.Edges = append(g.Edges, control.Edge{
			From: key.from, To: key.to, Kind: control.EdgeCall, Rate: t.rate, Errors: t.bad, P50: t.quantile(.5), P99: t.quantile(.99),
			Retries: max(0, sums.attempts[key]-t.rate), Hedges: sums.hedges[key],
		})
		get(sums.nodes, key.to)
	}
	g.Edges = append(g.Edges, sums.messages()...)
	g.Edges = append(g.Edges, sampled...)
	for service, t := range sums.nodes {
		g.Nodes = append(g.Nodes, control.Node{
			Service: service, Rate: t.rate, Errors: t.bad, P50: t.quantile(.5), P99: t.quantile(.99), Instances: sums.reporting[service],
		})
	}
	slices.SortFunc(g.Nodes, func(a, b control.Node) int { return strings.Compare(a.Service, b.Service) })
	slices.SortFunc(g.Edges, func(a, b control.Edge) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Topic, b.Topic))
	})
	return g
}

// messages are the edges of topics: each who handles one has its messages from those who publish it, in proportion.
func (s *sums) messages() []control.Edge {
	var out []control.Edge
	for in, done := range s.processed {
		var from []edgeKey
		var total float64
		for key, t := range s.published {
			if key.topic == in.topic {
				from = append(from, key)
				total += t.rate
			}
		}
		for _, key := range from {
			share := 1 / float64(len(from))
			if total > 0 {
				share = s.published[key].rate / total
			}
			out = append(out, control.Edge{
				From: key.from, To: in.to, Kind: control.EdgeMessage, Topic: in.topic, Rate: done.rate * share, Errors: done.bad * share,
				P50: done.quantile(.5), P99: done.quantile(.99),
			})
		}
	}
	return out
}

// Rates implements control.Sight.
func (s *Store) Rates() map[string]control.InstanceRates {
	sums := s.metrics.sums(time.Now())
	out := make(map[string]control.InstanceRates, len(sums.instances))
	for key, t := range sums.instances {
		out[key[1]] = control.InstanceRates{Rate: t.rate, Errors: t.bad, P50: t.quantile(.5), P99: t.quantile(.99)}
	}
	return out
}

// sampled are the edges, and it adds the nodes, of services that measure nothing: counted from the latest traces.
func (s *Store) sampled(now time.Time, sums *sums) []control.Edge {
	type seen struct {
		n, bad int
		took   []time.Duration
	}
	edges := make(map[edgeKey]*seen)
	nodes := make(map[string]*seen)
	note := func(in *seen, r *ref) {
		in.n++
		in.took = append(in.took, time.Duration(r.end-r.start))
		if r.flags&flagFailed != 0 {
			in.bad++
		}
	}
	since := now.Add(-sampleWindow).UnixNano()
	s.mu.Lock()
	looked := 0
	for _, l := range []*list{&s.plain, &s.kept} {
		for t := l.last; t != nil && looked < maxSampled; t = t.prev {
			looked += len(t.index)
			if t.last < since { // newer ones may be behind one that goes on for long
				continue
			}
			known := make(map[spanID]int, len(t.index))
			for i := range t.index {
				known[t.index[i].id] = i
			}
			for i := range t.index {
				r := &t.index[i]
				if r.kind != 2 && r.kind != 5 || r.end < since {
					continue
				}
				to := t.peers[r.peer].service
				if !sums.servers[to] && r.kind == 2 {
					note(get(nodes, to), r)
				}
				k, ok := known[r.parent]
				if !ok || t.peers[t.index[k].peer].service == to {
					continue
				}
				p := &t.index[k]
				from := t.peers[p.peer].service
				switch {
				case r.kind == 2 && !sums.callers[from]:
					note(get(edges, edgeKey{from, to, control.EdgeCall, ""}), r)
				case r.kind == 5 && len(sums.published) == 0 && len(sums.processed) == 0:
					note(get(edges, edgeKey{from, to, control.EdgeMessage, strings.TrimPrefix(readName(t.record(p)), "publish ")}), r)
				}
			}
		}
	}
	s.mu.Unlock()
	seconds := sampleWindow.Seconds()
	for service, in := range nodes {
		p50, p99 := middle(in.took)
		t := get(sums.nodes, service)
		t.rate, t.bad = float64(in.n)/seconds, float64(in.bad)/seconds
		t.took = []time.Duration{p50, p99}
	}
	var out []control.Edge
	for key, in := range edges {
		p50, p99 := middle(in.took)
		get(sums.nodes, key.from)
		get(sums.nodes, key.to)
		out = append(out, control.Edge{
			From: key.from, To: key.to, Kind: key.kind, Topic: key.topic, Rate: float64(in.n) / seconds, Errors: float64(in.bad) / seconds,
			P50: p50, P99: p99, Sampled: true,
		})
	}
	return out
}

func middle(took []time.Duration) (p50, p99 time.Duration) {
	slices.Sort(took)
	n := len(took)
	return took[n/2], took[min(n-1, n*99/100)]
}
