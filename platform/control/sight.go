package control

import (
	"context"
	"net/url"
	"time"
)

// Sight is what has been seen of the calls of a running system: its traces, its metrics, and what follows from them. The
// package owns the interface; platform/sight has a store that implements it. A [Server] without one (Config.Sight) answers
// failure.Unimplemented where it is asked for.
//
// All methods are called from many goroutines at once and answer from memory. What they return is the caller's.
type Sight interface {
	// Traces lists traces, newest first, at most q.Limit.
	Traces(q TraceQuery) []TraceSummary
	// Trace returns one trace: by its ID, by the ID of one of its spans, or by the beginning of either, if that is at least 6
	// hex digits long and fits nothing else. What fits several is a failure.InvalidArgument, what fits none a failure.NotFound.
	Trace(id string) (Trace, error)
	// Explain says in words what happened in a trace, or to the call that id names if it is the ID of a span. Lang is "en" or
	// "zh"; another one counts as "en". The errors are those of Trace.
	Explain(id, lang string) (Explanation, error)
	// Graph is who calls whom now, over the last seconds.
	Graph() Graph
	// Rates is what each instance serves now, by ID, over the same time. It lacks instances of which nothing is known.
	Rates() map[string]InstanceRates
	// Series are the metrics that were asked for, oldest point first.
	Series(q SeriesQuery) []Series
}

// The Status of a trace, the worst of its calls, and what TraceQuery.Status asks for.
const (
	TraceOK      = "ok"
	TraceError   = "error"   // what the user of the system got is an error
	TraceRetried = "retried" // all went well in the end, after some call was made more than once
	TraceHedged  = "hedged"  // some call was made twice at once, for speed
	TraceSlow    = "slow"    // took far longer than its like
)

const (
	// MaxTraces bounds how many traces one TraceQuery may ask for, DefaultTraces is how many it means by 0.
	MaxTraces     = 1000
	DefaultTraces = 50
)

// TraceQuery selects traces. The zero value asks for the DefaultTraces newest.
type TraceQuery struct {
	// Service is one that the trace went through.
	Service string
	// Status is one of TraceOK ... TraceSlow: a trace fits if that happened in it, so that a failed one that was retried fits
	// both. Empty fits all.
	Status string
	// Text is a word that occurs in the trace's ID, in the name of one of its spans, in an error, an instance, or an attribute's value.
	// Upper and lower case are the same.
	Text string
	// Min is the shortest Duration.
	Min time.Duration
	// Since is when the trace began at the earliest.
	Since time.Time
	// Limit is at most MaxTraces; 0 means DefaultTraces.
	Limit int
}

// TraceSummary is a trace in a line.
type TraceSummary struct {
	ID       string        `json:"id"`
	Root     string        `json:"root"`           // name of the first span that is known
	Service  string        `json:"service"`        // whose span that is
	Status   string        `json:"status"`         // TraceOK ...: the worst that happened
	Keep     string        `json:"keep,omitempty"` // why it was kept: "sampled", "error", "retried", "hedged", "refused", "slow"
	Start    time.Time     `json:"start"`
	Duration time.Duration `json:"duration"` // of the root's span; what goes on after it, as messages do, is not counted
	Spans    int           `json:"spans"`
	Attempts int           `json:"attempts"` // of all calls
	Services []string      `json:"services"` // in the order in which they took part
	Error    string        `json:"error,omitempty"`
}

// The Kind of a Span. What Holdfast calls a call is an internal span with the attribute "holdfast.call"; its attempts are
// client spans below it.
const (
	SpanInternal = "internal"
	SpanClient   = "client"
	SpanServer   = "server"
	SpanProducer = "producer"
	SpanConsumer = "consumer"
)

// Span is one piece of work in a trace.
type Span struct {
	ID       string        `json:"id"`
	Parent   string        `json:"parent,omitempty"` // may not be among the spans
	Depth    int           `json:"depth"`            // 0 for those without a known parent
	Name     string        `json:"name"`
	Service  string        `json:"service"`
	Instance string        `json:"instance,omitempty"`
	Kind     string        `json:"kind"`
	Code     string        `json:"code,omitempty"` // as package failure calls it, if it is one of those ("UNAVAILABLE"); empty: went well
	Error    string        `json:"error,omitempty"`
	Start    time.Time     `json:"start"` // by the clock of its parent, if the clocks of the two contradict each other; see Skew
	Duration time.Duration `json:"duration"`
	// Skew is by how much Start was moved because the process's clock must have been wrong.
	Skew time.Duration `json:"skew,omitempty"`
	// Attributes have values of the types string, bool, int64 (float64 in JSON), float64 and []string.
	Attributes map[string]any `json:"attributes,omitempty"`
	Events     []SpanEvent    `json:"events,omitempty"`
	Links      []string       `json:"links,omitempty"` // traces
}

// SpanEvent is something that happened during a Span.
type SpanEvent struct {
	Time       time.Time      `json:"time"`
	Name       string         `json:"name"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

// Trace is all that is known of one trace.
type Trace struct {
	TraceSummary
	// Tree has the spans depth first: each before those below it, siblings by their start.
	Tree []Span `json:"tree"`
	// Logs are the lines written on its behalf that are still kept, oldest first.
	Logs []LogLine `json:"logs,omitempty"`
	// Incomplete says what is missing, and why as far as that is known; empty if nothing is.
	Incomplete string `json:"incomplete,omitempty"`
}

// Explanation says in plain words what happened in a trace, or to one of its calls.
type Explanation struct {
	Trace string `json:"trace"`
	Span  string `json:"span,omitempty"` // the call that is explained; empty: the whole trace, by its root
	Lang  string `json:"lang"`
	Title string `json:"title"` // "POST /api/orders of the edge: failed after 2.1 s"
	// Verdict is the answer to "why", in one or two sentences.
	Verdict string        `json:"verdict"`
	Status  string        `json:"status"` // as TraceSummary has it, of what is explained
	Lines   []ExplainLine `json:"lines"`
	// Advice is what could be done, most useful first; empty if there is nothing to do.
	Advice []string `json:"advice,omitempty"`
}

// ExplainLine is a step of the story.
type ExplainLine struct {
	At    time.Duration `json:"at"`    // since the start of what is explained
	Level int           `json:"level"` // of indentation, from 0
	Text  string        `json:"text"`
	Span  string        `json:"span,omitempty"`
	Bad   bool          `json:"bad,omitempty"` // a step that failed
}

// The Kind of an Edge.
const (
	EdgeCall    = "call"
	EdgeMessage = "message" // From publishes what To handles
)

// Graph is who calls whom: per second, over Window.
type Graph struct {
	At     time.Time     `json:"at"`
	Window time.Duration `json:"window"`
	Nodes  []Node        `json:"nodes"` // by name
	Edges  []Edge        `json:"edges"` // by From, To, Kind
}

// Node is what a service serves. Rates are per second.
type Node struct {
	Service   string        `json:"service"`
	Rate      float64       `json:"rate"`
	Errors    float64       `json:"errors"`
	P50       time.Duration `json:"p50"`
	P99       time.Duration `json:"p99"`
	Instances int           `json:"instances"` // that have reported
}

// Edge is what one service asks of another. Rates are per second and count calls; a call that was tried three times is one
// call and two Retries. Streams are not counted, unless Sampled: an edge of streams alone has a rate of 0.
type Edge struct {
	From    string        `json:"from"`
	To      string        `json:"to"`
	Kind    string        `json:"kind"`            // EdgeCall, EdgeMessage
	Topic   string        `json:"topic,omitempty"` // of EdgeMessage
	Rate    float64       `json:"rate"`
	Errors  float64       `json:"errors"`
	Retries float64       `json:"retries"`
	Hedges  float64       `json:"hedges"`
	P50     time.Duration `json:"p50"`
	P99     time.Duration `json:"p99"`
	// Sampled is whether it is counted from traces, which may be a part of all: the services do not measure it.
	Sampled bool `json:"sampled,omitempty"`
}

// InstanceRates is what one instance serves, per second.
type InstanceRates struct {
	Rate   float64       `json:"rate"`
	Errors float64       `json:"errors"`
	P50    time.Duration `json:"p50"`
	P99    time.Duration `json:"p99"`
}

// MaxLast bounds SeriesQuery.Last, DefaultLast is what 0 means.
const (
	MaxLast     = 15 * time.Minute
	DefaultLast = 5 * time.Minute
)

// SeriesQuery selects metrics.
type SeriesQuery struct {
	// Name is that of an instrument ("rpc.server.call.duration"), or its beginning with a "*" at the end.
	Name     string
	Service  string        // empty: of all
	Instance string        // empty: of all
	Last     time.Duration // at most MaxLast; 0 means DefaultLast
}

// Series is how one number went. Counters are rates, per second; a histogram is several series, with the attribute "stat":
// "rate", and "p50" and "p99" in seconds.
type Series struct {
	Name string `json:"name"`
	// Attributes are the metric's, with "service" and "instance", whose number it is. What the metric itself calls "service", the
	// one that is called, is "to".
	Attributes map[string]string `json:"attributes"`
	Unit       string            `json:"unit,omitempty"`
	Points     []Point           `json:"points"`
}

// Point is a value at a time.
type Point struct {
	At    time.Time `json:"at"`
	Value float64   `json:"value"`
}

// Traces lists traces, newest first.
func (c *Client) Traces(ctx context.Context, q TraceQuery) ([]TraceSummary, error) {
	var answer tracesAnswer
	err := c.get(ctx, "/v1/traces?"+traceQueryValues(q).Encode(), &answer)
	return answer.Traces, err
}

// Trace returns a trace; see [Sight].Trace for what id may be.
func (c *Client) Trace(ctx context.Context, id string) (Trace, error) {
	var t Trace
	err := c.get(ctx, "/v1/traces/"+url.PathEscape(id), &t)
	return t, err
}

// Explain says what happened in a trace, or to a call, in lang ("en", "zh").
func (c *Client) Explain(ctx context.Context, id, lang string) (Explanation, error) {
	var e Explanation
	err := c.get(ctx, "/v1/explain/"+url.PathEscape(id)+"?lang="+url.QueryEscape(lang), &e)
	return e, err
}

// Graph is who calls whom now.
func (c *Client) Graph(ctx context.Context) (Graph, error) {
	var g Graph
	err := c.get(ctx, "/v1/graph", &g)
	return g, err
}

// Rates is what each instance serves now.
func (c *Client) Rates(ctx context.Context) (map[string]InstanceRates, error) {
	var answer ratesAnswer
	err := c.get(ctx, "/v1/rates", &answer)
	return answer.Instances, err
}

// Series are metrics, oldest point first.
func (c *Client) Series(ctx context.Context, q SeriesQuery) ([]Series, error) {
	var answer seriesAnswer
	err := c.get(ctx, "/v1/series?"+seriesQueryValues(q).Encode(), &answer)
	return answer.Series, err
}
