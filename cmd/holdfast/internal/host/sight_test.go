//go:build unix

package host

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/platform/sight"
)

// What services are told of where to say what they do, with what the user's environment, and their own, says of it.
func TestSightEnv(t *testing.T) {
	for _, tc := range []struct {
		name string
		env  []string
		own  map[string]string
		want []string // in words: ADDR is the platform's
		told string
	}{
		{name: "nothing", want: []string{
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://ADDR", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_METRIC_EXPORT_INTERVAL=1000",
			"OTEL_SERVICE_NAME=orders", "OTEL_TRACES_SAMPLER=parentbased_always_on",
		}},
		{name: "a collector of the user's", env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=https://secret@collector:4318/", "OTEL_METRIC_EXPORT_INTERVAL=5000"}, want: []string{
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://ADDR/to/0", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_METRIC_EXPORT_INTERVAL=1000", "OTEL_SERVICE_NAME=orders",
		}, told: "traces and metrics go on to collector:4318 as well"},
		{name: "differences, which cannot be thinned", env: []string{
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318", "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta",
		}, want: []string{
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://ADDR/to/0", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_SERVICE_NAME=orders",
		}, told: "traces and metrics go on to collector:4318 as well"},
		{name: "of the system file's, for traces, by gRPC", own: map[string]string{
			"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "jaeger:4317", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc", "OTEL_SERVICE_NAME": "mine",
		}, want: []string{
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://ADDR/to/0", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://ADDR/to/0/v1/traces",
			"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf", "OTEL_METRIC_EXPORT_INTERVAL=1000",
		}, told: "traces and metrics go on to jaeger:4317 as well"},
		{name: "a sampler of the user's", env: []string{"OTEL_TRACES_SAMPLER=always_off"}, want: []string{
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://ADDR", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_METRIC_EXPORT_INTERVAL=1000", "OTEL_SERVICE_NAME=orders",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := sight.Listen(sight.New(sight.Config{}), sight.ReceiverConfig{})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			h := &Host{cfg: Config{Env: tc.env}, feed: newFeed(), sight: sighted{receiver: r}}
			events, cancel := h.feed.subscribe()
			defer cancel()
			for range 2 { // once for each of two services
				env, err := h.sightEnv("orders", tc.own)
				for i := range env {
					env[i] = strings.ReplaceAll(env[i], r.Addr(), "ADDR")
				}
				if err != nil || !slices.Equal(env, tc.want) {
					t.Errorf("%v, %v; want %v", env, err, tc.want)
				}
			}
			var told []string
			for len(events) > 0 {
				told = append(told, (<-events).Message)
			}
			if strings.Join(told, ", ") != tc.told {
				t.Errorf("people are told %q, want %q", told, tc.told)
			}
		})
	}
}

func TestCollector(t *testing.T) {
	for _, tc := range []struct {
		env  map[string]string
		want sight.Target
	}{
		{nil, sight.Target{}},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, sight.Target{URL: "http://c:4318/v1/traces"}},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/own"}, sight.Target{URL: "http://c:4318/own"}},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, sight.Target{URL: "http://c:4317", GRPC: true}},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, sight.Target{URL: "https://c:4317", GRPC: true}},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_INSECURE": "true"}, sight.Target{URL: "http://c:4317", GRPC: true}},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "none"}, sight.Target{URL: "http://c:4318/v1/traces"}},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, sight.Target{}},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "console"}, sight.Target{}},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "console, otlp"}, sight.Target{URL: "http://c:4318/v1/traces"}},
	} {
		if got, err := collector(func(key string) string { return tc.env[key] }, "traces"); err != nil || got != tc.want {
			t.Errorf("%v: %+v, %v; want %+v", tc.env, got, err, tc.want)
		}
	}
}

// How a collector is spoken to is as the user says, and what cannot be is refused.
func TestHowACollectorIsSpokenTo(t *testing.T) {
	env := map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c:4318", "OTEL_EXPORTER_OTLP_CERTIFICATE": "ca.pem", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "cert.pem",
		"OTEL_EXPORTER_OTLP_CLIENT_KEY": "key.pem", "OTEL_EXPORTER_OTLP_TIMEOUT": "2000", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
	}
	get := func(key string) string { return env[key] }
	want := sight.Target{URL: "https://c:4318/v1/metrics", Gzip: true, CA: "ca.pem", Cert: "cert.pem", Key: "key.pem", Timeout: 2 * time.Second, Every: time.Minute}
	if got, err := collectors(get); err != nil || got.Metrics != want || got.Traces.Every != 0 || got.Traces.CA != "ca.pem" {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	env["OTEL_METRIC_EXPORT_INTERVAL"] = "5000"
	if got, err := collectors(get); err != nil || got.Metrics.Every != 5*time.Second {
		t.Errorf("%+v, %v", got, err)
	}
	for key, value := range map[string]string{"OTEL_EXPORTER_OTLP_TIMEOUT": "2s", "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd", "OTEL_METRIC_EXPORT_INTERVAL": "0"} {
		was := env[key]
		env[key] = value
		if got, err := collectors(get); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s=%s: %+v, %v", key, value, got, err)
		}
		env[key] = was
	}
}
