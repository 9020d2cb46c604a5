package telemetry_test

import (
	"context"
	"testing"

	"github.com/holdfast-go/holdfast/telemetry"
)

func TestSecret(t *testing.T) {
	for _, key := range []string{"PASSWORD", "db.password", "OTEL_EXPORTER_OTLP_HEADERS", "api.key", "AWS_SECRET_ACCESS_KEY", "SESSION_TOKEN", "private"} {
		if !telemetry.Secret(key) {
			t.Errorf("%s is none", key)
		}
	}
	for _, key := range []string{"team", "HOLDFAST_GRPC_ADDR", "OTEL_SERVICE_NAME", "deployment.environment.name", "keyboard", "HOLDFAST_LOG"} {
		if telemetry.Secret(key) {
			t.Errorf("%s is one", key)
		}
	}
}

// What by its name is a secret is in no span.
func TestSecretsAreNotSent(t *testing.T) {
	p := open(t, "orders", telemetry.Config{Ratio: 1, Getenv: func(key string) string {
		if key == "OTEL_RESOURCE_ATTRIBUTES" {
			return "team=blue,db.password=hunter2"
		}
		return ""
	}})
	defer p.Shutdown(context.Background())
	_, span := p.TracerProvider().Tracer("test").Start(t.Context(), "x")
	span.End()
	for _, s := range p.spans(t) {
		team, there := s.Resource().Set().Value("team")
		if secret, _ := s.Resource().Set().Value("db.password"); secret.AsString() != "…" || !there || team.AsString() != "blue" {
			t.Errorf("it comes from %v", s.Resource())
		}
	}
	if len(p.spans(t)) != 1 {
		t.Error("there is no span")
	}
}
