package load_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/test/bufconn"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/failure"
)

// serve runs a server with a health service, and returns a caller that knows it as "shop".
func serve(t *testing.T, reflect func(*grpc.Server), seen func(context.Context)) *load.Caller {
	t.Helper()
	at := bufconn.Listen(1 << 16)
	s := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		seen(ctx)
		return h(ctx, req)
	}))
	h := health.NewServer()
	h.SetServingStatus("store", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(s, h)
	reflect(s)
	done := make(chan error, 1)
	go func() { done <- s.Serve(at) }()
	conn, err := grpc.NewClient("passthrough:shop", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return at.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return load.NewCaller(load.Target{GRPC: func(service string) (grpc.ClientConnInterface, error) {
		if service != "shop" {
			return nil, failure.New(failure.NotFound, "there is no service %s", service)
		}
		return conn, nil
	}})
}

func TestMethodsAreCalledByWhatTheServiceSaysOfThem(t *testing.T) {
	t.Parallel()
	for name, reflect := range map[string]func(*grpc.Server){
		"v1": func(s *grpc.Server) { reflection.RegisterV1(s) },
		"v1alpha": func(s *grpc.Server) {
			reflectionpb.RegisterServerReflectionServer(s, reflection.NewServer(reflection.ServerOptions{Services: s}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var md metadata.MD
			c := serve(t, reflect, func(ctx context.Context) { md, _ = metadata.FromIncomingContext(ctx) })
			p, err := c.Prepare(t.Context(), []string{"who"}, load.Call{
				Name: "check", GRPC: "shop/grpc.health.v1.Health/Check", Body: map[string]any{"service": "{{.who}}"},
				Key: "k-{{.who}}", Header: map[string]string{"X-Who": "{{.who}}"},
				Keep: map[string]string{"status": "status"}, Refused: []string{"NOT_FOUND unknown"},
			})
			if err != nil {
				t.Fatal(err)
			}
			s := p.Do(t.Context(), load.Draw{}, load.Values{"who": {Text: "store"}})
			if s.Outcome != load.OK || s.Status != "OK" || s.Kept["status"] != "NOT_SERVING" || s.Vars["key"] != "k-store" || s.Instance == "" {
				t.Errorf("%+v", s)
			}
			if md.Get("idempotency-key")[0] != "k-store" || len(md.Get("idempotency-key")) != 1 || md.Get("x-who")[0] != "store" {
				t.Errorf("%v", md)
			}
			s = p.Do(t.Context(), load.Draw{}, load.Values{"who": {Text: "nobody"}})
			if s.Outcome != load.Refused || s.Status != "NOT_FOUND" || s.Error != "unknown service" {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestWhatIsWrongWithAMethodIsSaid(t *testing.T) {
	t.Parallel()
	c := serve(t, func(s *grpc.Server) { reflection.Register(s) }, func(context.Context) {})
	for _, x := range []struct {
		call load.Call
		want string
	}{
		{load.Call{GRPC: "shop/grpc.health.v1.Health/Chek"}, "there is no Chek; there are Check, List, Watch"},
		{load.Call{GRPC: "shop/grpc.health.v1.Health/Watch"}, "it is a stream"},
		{load.Call{GRPC: "shop/grpc.health.v1.Wealth/Check"}, "no such service"},
		{load.Call{GRPC: "shop/Check"}, "SERVICE/package.Type/Method"},
		{load.Call{GRPC: "shop/grpc.health.v1.Health/Check", Body: map[string]any{"svc": 1}}, "body: grpc.health.v1.HealthCheckRequest has no svc; it has service"},
	} {
		if _, err := c.Prepare(t.Context(), nil, x.call); !errors.Is(err, failure.InvalidArgument) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v, which does not say %q", err, x.want)
		}
	}
	if _, err := c.Prepare(t.Context(), nil, load.Call{GRPC: "store/a.B/C"}); !errors.Is(err, failure.NotFound) {
		t.Errorf("another service: %v", err)
	}
	silent := serve(t, func(*grpc.Server) {}, func(context.Context) {})
	if _, err := silent.Prepare(t.Context(), nil, load.Call{GRPC: "shop/grpc.health.v1.Health/Check"}); err == nil || !strings.Contains(err.Error(), "reflection is not registered") {
		t.Errorf("a server without reflection: %v", err)
	}
	p, err := c.Prepare(t.Context(), nil, load.Call{GRPC: "shop/grpc.health.v1.Health/Check", Body: `{"service": 5}`})
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Do(t.Context(), load.Draw{}, nil); s.Outcome != load.Failed || !strings.Contains(s.Error, "the body is no grpc.health.v1.HealthCheckRequest") {
		t.Errorf("%+v", s)
	}
}

func TestAServiceThatDoesNotAnswerIsUnavailable(t *testing.T) {
	t.Parallel()
	conn, err := grpc.NewClient("passthrough:shop", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return nil, errors.New("refused") }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := load.NewCaller(load.Target{GRPC: func(string) (grpc.ClientConnInterface, error) { return conn, nil }})
	if _, err := c.Prepare(t.Context(), nil, load.Call{GRPC: "shop/grpc.health.v1.Health/Check"}); !errors.Is(err, failure.Unavailable) {
		t.Errorf("%v", err)
	}
}
