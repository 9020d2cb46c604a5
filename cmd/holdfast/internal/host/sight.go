//go:build unix

package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/netns"
	"github.com/holdfast-go/holdfast/platform/sight"
	"github.com/holdfast-go/holdfast/platform/supervise"
	"github.com/holdfast-go/holdfast/platform/system"
	"github.com/holdfast-go/holdfast/resilience"
	"github.com/holdfast-go/holdfast/telemetry"
)

// exportEvery is how often services tell their metrics, and exportWords the same for their environment, in milliseconds.
const (
	exportEvery = time.Second
	exportWords = "1000"
)

// sighted is what the platform sees of the calls of its services, and of its own.
type sighted struct {
	store    *sight.Store
	receiver *sight.Receiver
	edges    *telemetry.Telemetry // what the platform's edges say; nil if there are none
	told     map[string]bool      // collectors of which people have been told
}

// openSight listens for what the services tell: on loopback, or where they are in a network of namespaces.
func (h *Host) openSight(ctx context.Context) (err error) {
	cfg := sight.ReceiverConfig{Logger: h.cfg.Logger, Tell: func(message string) {
		h.feed.publish(control.Event{Time: time.Now(), Message: message})
	}}
	if h.net != nil {
		cfg.Addr, cfg.Insecure = net.JoinHostPort(platformAddr(h.net), "0"), true
	}
	if h.sight.receiver, err = sight.Listen(h.sight.store, cfg); err != nil {
		return err
	}
	if !slices.ContainsFunc(h.sys.Services, hasEdge) || strings.EqualFold(strings.TrimSpace(variable(h.cfg.Env, "OTEL_SDK_DISABLED")), "true") {
		return nil
	}
	// The edges' part of a trace goes where that of the services does, and as much of it is kept.
	base, ratio := "http://"+h.sight.receiver.Addr(), 1.0
	get := func(key string) string { return variable(h.cfg.Env, key) }
	to, err := collectors(get)
	if err != nil {
		return err
	}
	if to != (sight.Collector{}) {
		path, err := h.sight.receiver.Forward(to)
		if err != nil {
			return err
		}
		base, ratio = base+path, 0
	}
	spans, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(base+"/v1/traces"))
	if err != nil {
		return err
	}
	metrics, err := otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(base+"/v1/metrics"))
	if err != nil {
		return err
	}
	h.sight.edges, err = telemetry.Open(ctx, telemetry.Config{
		Service: control.EdgeEnd, Instance: control.EdgeEnd, Version: h.cfg.Version, Ratio: ratio, Logger: h.cfg.Logger,
		Getenv: func(key string) string { // the rest is for the services
			if strings.HasPrefix(key, "OTEL_TRACES_SAMPLER") {
				return get(key)
			}
			return ""
		},
		Exporter: spans,
		Reader: func(p sdkmetric.Producer) sdkmetric.Reader {
			return sdkmetric.NewPeriodicReader(metrics, sdkmetric.WithInterval(exportEvery), sdkmetric.WithProducer(p))
		},
	})
	return err
}

// platformAddr is the platform's own address in a network of namespaces, the first one.
func platformAddr(n *netns.Network) string { return n.Subnet().Addr().Next().String() }

// observer is told of what edges do; nil for nobody.
func (s *sighted) observer() resilience.Observer {
	if s.edges == nil { // not a nil pointer in an interface
		return nil
	}
	return s.edges.Observer()
}

// sightComponents take what services tell, and note what happens beside it: started before the services, and stopped after
// them, so that what these say at their end is heard.
func (h *Host) sightComponents() []lifecycle.Component {
	parts := []lifecycle.Component{
		h.sight.receiver,
		lifecycle.Named("notes", lifecycle.Func(h.noteEvents)),
		lifecycle.Named("lines", lifecycle.Func(h.noteLines)),
	}
	if h.sight.edges == nil {
		return parts
	}
	return append(parts, lifecycle.Named("telemetry of the edges", lifecycle.Func(func(ctx context.Context) error {
		<-ctx.Done()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		return h.closeSight(bounded)
	})))
}

// farewell is how long the edges may take to say what they have left to say.
const farewell = 2 * time.Second

// closeSight ends what the edges say. What they cannot say any more until ctx ends is lost.
func (h *Host) closeSight(ctx context.Context) error {
	if h.sight.edges != nil {
		if err := h.sight.edges.Shutdown(ctx); err != nil {
			h.cfg.Logger.Info("the end of the edges' telemetry is lost", "error", err)
		}
	}
	return nil
}

// noteEvents tells the store what happens.
func (h *Host) noteEvents(ctx context.Context) error {
	return h.Events(ctx, func(e control.Event) error {
		h.sight.store.Note(e)
		return nil
	})
}

// noteLines tells the store what processes write.
func (h *Host) noteLines(ctx context.Context) error {
	_, tail, err := h.sup.Logs("", 0, true)
	if err != nil {
		return err
	}
	defer tail.Stop()
	for {
		l, err := tail.Next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			<-ctx.Done()
			return nil
		case err != nil:
			return nil // ctx has ended
		case l.Dropped == 0:
			h.sight.store.AddLine(logLine(l))
		}
	}
}

// filtered are the lines that q asks for by their text or their trace, of those kept of the processes' output, with those that were
// sent by OTLP, the last q.Lines of them.
func filtered(q control.LogQuery, lines []supervise.Line, sent []control.LogLine) []control.LogLine {
	fits := sight.Filter(q)
	var out []control.LogLine
	for _, l := range lines {
		if line := logLine(l); fits(line) {
			out = append(out, line)
		}
	}
	out = append(out, sent...)
	slices.SortStableFunc(out, func(a, b control.LogLine) int { return a.Time.Compare(b.Time) })
	return out[max(0, len(out)-max(q.Lines, 0)):]
}

// sightEnv is where a service with this environment of its own sends what it tells: to the platform, which hands it on to
// where the user wants to have it. It goes behind that environment.
func (h *Host) sightEnv(service string, own map[string]string) ([]string, error) {
	get := func(key string) string {
		if v, ok := own[key]; ok {
			return v
		}
		return variable(h.cfg.Env, key)
	}
	to, err := collectors(get)
	if err != nil {
		return nil, err
	}
	base := "http://" + h.sight.receiver.Addr()
	if to != (sight.Collector{}) {
		path, err := h.sight.receiver.Forward(to)
		if err != nil {
			return nil, err
		}
		base += path
		h.tellCollector(to)
	}
	env := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + base, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"}
	for _, signal := range []string{"traces", "metrics", "logs"} {
		prefix := "OTEL_EXPORTER_OTLP_" + strings.ToUpper(signal)
		if get(prefix+"_ENDPOINT") != "" {
			env = append(env, prefix+"_ENDPOINT="+base+"/v1/"+signal)
		}
		if get(prefix+"_PROTOCOL") != "" {
			env = append(env, prefix+"_PROTOCOL=http/protobuf")
		}
	}
	if get("OTEL_SERVICE_NAME") == "" {
		env = append(env, "OTEL_SERVICE_NAME="+service)
	}
	// The platform is told every second; what it hands on of that is thinned to what the user wants. Differences cannot be.
	if to.Metrics.Every > 0 || get("OTEL_METRIC_EXPORT_INTERVAL") == "" && (to.Metrics.URL == "" || cumulative(get)) {
		env = append(env, "OTEL_METRIC_EXPORT_INTERVAL="+exportWords)
	}
	if get("OTEL_TRACES_SAMPLER") == "" && to == (sight.Collector{}) { // how much a collector is sent, its user decides
		env = append(env, "OTEL_TRACES_SAMPLER=parentbased_always_on")
	}
	slices.Sort(env)
	return env, nil
}

// collectors returns where the environment has telemetry sent to.
func collectors(get func(key string) string) (to sight.Collector, err error) {
	for _, t := range []struct {
		name   string
		target *sight.Target
	}{{"traces", &to.Traces}, {"metrics", &to.Metrics}, {"logs", &to.Logs}} {
		if *t.target, err = collector(get, t.name); err != nil {
			return to, err
		}
	}
	if to.Metrics.URL != "" && cumulative(get) {
		every, err := milliseconds(get, "OTEL_METRIC_EXPORT_INTERVAL", exportAsked)
		if err != nil {
			return to, err
		}
		if every > exportEvery {
			to.Metrics.Every = every
		}
	}
	return to, nil
}

// exportAsked is how often a collector is sent metrics if nobody says.
const exportAsked = time.Minute

// cumulative reports whether each export says all since the start.
func cumulative(get func(key string) string) bool {
	v := strings.ToLower(get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"))
	return v == "" || v == "cumulative"
}

func milliseconds(get func(key string) string, name string, or time.Duration) (time.Duration, error) {
	v := get(name)
	if v == "" {
		return or, nil
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s: %.40q is no number of milliseconds", name, v)
	}
	return time.Duration(n) * time.Millisecond, nil
}

// tellCollector says, once of each, that telemetry goes on to a collector.
func (h *Host) tellCollector(to sight.Collector) {
	for _, t := range []sight.Target{to.Traces, to.Metrics, to.Logs} {
		u, err := url.Parse(t.URL)
		if err != nil || u.Host == "" || h.sight.told[u.Host] {
			continue
		}
		if h.sight.told == nil {
			h.sight.told = make(map[string]bool)
		}
		h.sight.told[u.Host] = true
		h.feed.publish(control.Event{Time: time.Now(), Message: "traces and metrics go on to " + u.Host + " as well"})
	}
}

// elsewhere reports whether a list of exporters has some that are known and OTLP is none of them, as "none".
func elsewhere(exporters string) (known bool) {
	for name := range strings.SplitSeq(exporters, ",") {
		switch strings.TrimSpace(name) {
		case "otlp":
			return false
		case "none", "console", "prometheus":
			known = true
		}
	}
	return known
}

// collector is where an environment says that a signal goes; nothing if it does not.
func collector(get func(string) string, signal string) (t sight.Target, err error) {
	prefix := "OTEL_EXPORTER_OTLP_" + strings.ToUpper(signal)
	either := func(name string) string { return cmp.Or(get(prefix+name), get("OTEL_EXPORTER_OTLP"+name)) }
	t.GRPC = either("_PROTOCOL") == "grpc"
	whole := get(prefix + "_ENDPOINT")
	t.URL = either("_ENDPOINT")
	if t.URL == "" {
		return sight.Target{}, nil
	}
	if elsewhere(get("OTEL_" + strings.ToUpper(signal) + "_EXPORTER")) {
		return sight.Target{}, nil
	}
	if t.GRPC && !strings.Contains(t.URL, "://") {
		scheme := "https://"
		if either("_INSECURE") == "true" {
			scheme = "http://"
		}
		t.URL = scheme + t.URL
	}
	if !t.GRPC && whole == "" {
		t.URL = strings.TrimRight(t.URL, "/") + "/v1/" + signal
	}
	t.CA, t.Cert, t.Key = either("_CERTIFICATE"), either("_CLIENT_CERTIFICATE"), either("_CLIENT_KEY")
	switch v := either("_COMPRESSION"); v {
	case "", "none":
	case "gzip":
		t.Gzip = true
	default:
		return t, fmt.Errorf("OTEL_EXPORTER_OTLP_COMPRESSION: %.40q is neither gzip nor none", v)
	}
	name := "OTEL_EXPORTER_OTLP_TIMEOUT"
	if get(prefix+"_TIMEOUT") != "" {
		name = prefix + "_TIMEOUT"
	}
	t.Timeout, err = milliseconds(get, name, 0)
	return t, err
}

func hasEdge(s system.Service) bool { return s.HTTP != "" }
