package telemetry

import (
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// environment is what the OTEL_* settings say, as far as it is not the exporters' own.
type environment struct {
	disabled bool

	traces, metrics destinations
	protocol        [2]string
	interval        time.Duration
	timeout         time.Duration

	sampler    string
	ratio      float64
	ratioSet   bool
	trace      bool // propagators
	baggage    bool
	service    string
	attributes []attribute.KeyValue

	wrong []error  // settings that are not used, in part or at all
	plain []string // settings by which something is sent in plaintext beyond loopback
}

// destinations are where a signal goes.
type destinations struct{ otlp, console bool }

const (
	toOTLP    = "otlp"
	toConsole = "console"
	toNowhere = "none"

	overHTTP = "http/protobuf"
	overGRPC = "grpc"
)

// readEnvironment reads all of it. What cannot be used counts as absent and is told of in wrong: a setting that another SDK
// knows must not cost what the others say.
func readEnvironment(getenv func(string) string) environment {
	var e environment
	e.disabled = strings.EqualFold(strings.TrimSpace(getenv("OTEL_SDK_DISABLED")), "true")
	if e.disabled {
		return e
	}
	e.traces, e.metrics = e.destinations(getenv, "TRACES"), e.destinations(getenv, "METRICS")
	for i, signal := range []string{"TRACES", "METRICS"} {
		e.protocol[i] = overHTTP
		name := "OTEL_EXPORTER_OTLP_" + signal + "_PROTOCOL"
		if getenv(name) == "" {
			name = "OTEL_EXPORTER_OTLP_PROTOCOL"
		}
		switch p := getenv(name); p {
		case "", overHTTP:
		case overGRPC:
			e.protocol[i] = p
		default:
			e.ignore("%s: %.40q is neither grpc nor http/protobuf", name, p)
		}
	}
	e.interval = e.milliseconds(getenv, "OTEL_METRIC_EXPORT_INTERVAL", time.Minute)
	e.timeout = e.milliseconds(getenv, "OTEL_METRIC_EXPORT_TIMEOUT", 30*time.Second)
	e.readSampler(getenv)
	e.readPropagators(getenv("OTEL_PROPAGATORS"))
	e.readPlaintext(getenv)
	e.service, e.attributes = getenv("OTEL_SERVICE_NAME"), resourceAttributes(getenv("OTEL_RESOURCE_ATTRIBUTES"))
	return e
}

// ignore notes what is not used, once.
func (e *environment) ignore(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, w := range e.wrong {
		if w.Error() == err.Error() {
			return
		}
	}
	e.wrong = append(e.wrong, err)
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// destinations returns where a signal goes: what is asked for, else OTLP if there is an endpoint for it.
func (e *environment) destinations(getenv func(string) string, signal string) (d destinations) {
	name, known := "OTEL_"+signal+"_EXPORTER", false
	for v := range strings.SplitSeq(getenv(name), ",") {
		switch v = strings.TrimSpace(v); v {
		case toOTLP:
			d.otlp, known = true, true
		case toConsole:
			d.console, known = true, true
		case toNowhere, "prometheus": // which is there anyway
			known = true
		case "":
		default:
			e.ignore("%s: %.40q is none of otlp, console, none", name, v)
		}
	}
	if !known {
		d.otlp = first(getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT"), getenv("OTEL_EXPORTER_OTLP_ENDPOINT")) != ""
	}
	return d
}

func (e *environment) milliseconds(getenv func(string) string, name string, or time.Duration) time.Duration {
	v := getenv(name)
	if v == "" {
		return or
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil || n == 0 {
		e.ignore("%s: %.40q is no number of milliseconds", name, v)
		return or
	}
	return time.Duration(n) * time.Millisecond
}

func (e *environment) readSampler(getenv func(string) string) {
	switch v := getenv("OTEL_TRACES_SAMPLER"); v {
	case "", "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio":
		e.sampler = v
	default:
		e.ignore("OTEL_TRACES_SAMPLER: %.40q is not known", v)
		return // the argument is of that one
	}
	arg := getenv("OTEL_TRACES_SAMPLER_ARG")
	if arg == "" {
		return
	}
	ratio, err := strconv.ParseFloat(arg, 64)
	if err != nil || !(ratio >= 0 && ratio <= 1) {
		e.ignore("OTEL_TRACES_SAMPLER_ARG: %.40q is no number from 0 to 1", arg)
		return
	}
	e.ratio, e.ratioSet = ratio, true
}

func (e *environment) readPropagators(v string) {
	known := false
	for name := range strings.SplitSeq(v, ",") {
		switch name = strings.TrimSpace(name); name {
		case "tracecontext":
			e.trace, known = true, true
		case "baggage":
			e.baggage, known = true, true
		case "none":
			known = true
		case "":
		default:
			e.ignore("OTEL_PROPAGATORS: %.40q is none of tracecontext, baggage, none", name)
		}
	}
	if !known {
		e.trace, e.baggage = true, true
	}
}

// readPlaintext notes what would be sent in plaintext beyond loopback, unless OTEL_EXPORTER_OTLP_INSECURE says that it is meant.
func (e *environment) readPlaintext(getenv func(string) string) {
	for i, signal := range []string{"TRACES", "METRICS"} {
		if ![]destinations{e.traces, e.metrics}[i].otlp || first(getenv("OTEL_EXPORTER_OTLP_"+signal+"_INSECURE"), getenv("OTEL_EXPORTER_OTLP_INSECURE")) == "true" {
			continue
		}
		name := "OTEL_EXPORTER_OTLP_" + signal + "_ENDPOINT"
		if getenv(name) == "" {
			name = "OTEL_EXPORTER_OTLP_ENDPOINT"
		}
		u, err := url.Parse(getenv(name))
		if err != nil || u.Scheme != "http" || u.Hostname() == "localhost" || slices.Contains(e.plain, name) {
			continue
		}
		if ip, err := netip.ParseAddr(u.Hostname()); err != nil || !ip.Unmap().IsLoopback() {
			e.plain = append(e.plain, name)
		}
	}
}

// resourceAttributes reads OTEL_RESOURCE_ATTRIBUTES: key=value pairs, separated by commas, the values percent-encoded.
// What is no pair is left out. What by its name is a secret is not shown.
func resourceAttributes(v string) []attribute.KeyValue {
	var out []attribute.KeyValue
	for pair := range strings.SplitSeq(v, ",") {
		key, value, ok := strings.Cut(pair, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || key == "" {
			continue
		}
		if decoded, err := url.PathUnescape(value); err == nil {
			value = decoded
		}
		if Secret(key) { // it would be in everything that is sent, and on /metrics; left out here, the SDK would add it
			value = "…"
		}
		out = append(out, attribute.String(key, value))
	}
	return out
}

// newResource says what everything comes from. What the environment says wins.
func newResource(cfg Config, env environment) *resource.Resource {
	attrs := []attribute.KeyValue{
		semconv.TelemetrySDKName("opentelemetry"), semconv.TelemetrySDKLanguageGo, semconv.TelemetrySDKVersion(sdk.Version()),
		semconv.ProcessPID(os.Getpid()),
	}
	add := func(key attribute.Key, v string) {
		if v != "" {
			attrs = append(attrs, key.String(v))
		}
	}
	host, _ := os.Hostname()
	add(semconv.HostNameKey, host)
	add(semconv.ServiceNameKey, first(cfg.Service, "unknown_service"))
	add(semconv.ServiceInstanceIDKey, cfg.Instance)
	add(semconv.ServiceVersionKey, cfg.Version)
	add(semconv.CloudAvailabilityZoneKey, cfg.Zone)
	attrs = append(attrs, env.attributes...)
	add(semconv.ServiceNameKey, env.service)
	return resource.NewWithAttributes(semconv.SchemaURL, attrs...) // of one key, the last counts
}
