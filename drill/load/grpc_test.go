package load_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/failure"
)

// serve runs a server with a health service, and returns a caller that knows it as "shop".
func serve(t *testing.T, reflect func(*grpc.Server), seen func(context.Context)) *load.Caller {
	t.Helper()
	conn := dial(t, reflect, seen)
	return load.NewCaller(load.Target{GRPC: func(service string) (grpc.ClientConnInterface, error) {
		if service != "shop" {
			return nil, failure.New(failure.NotFound, "there is no service %s", service)
		}
		return conn, nil
	}})
}

// dial runs such a server, and returns a connection to it.
func dial(t *testing.T, reflect func(*grpc.Server), seen func(context.Context)) *grpc.ClientConn {
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
	return conn
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

// said is what a server says of itself.
type said map[string]grpc.ServiceInfo

func (s said) GetServiceInfo() map[string]grpc.ServiceInfo { return s }

func TestAServerSaysWhatItsMethodsAre(t *testing.T) {
	t.Parallel()
	method := func(name string, level descriptorpb.MethodOptions_IdempotencyLevel, stream bool) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{
			Name: &name, InputType: proto.String(".test.Empty"), OutputType: proto.String(".test.Empty"), ServerStreaming: &stream,
			Options: &descriptorpb.MethodOptions{IdempotencyLevel: &level},
		}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("test.proto"), Package: proto.String("test"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Empty")}},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Store"), Method: []*descriptorpb.MethodDescriptorProto{
			method("Put", descriptorpb.MethodOptions_IDEMPOTENT, false), method("Get", descriptorpb.MethodOptions_NO_SIDE_EFFECTS, false),
			method("Add", descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN, false), method("Watch", descriptorpb.MethodOptions_NO_SIDE_EFFECTS, true),
		}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	files := new(protoregistry.Files)
	if err := files.RegisterFile(file); err != nil {
		t.Fatal(err)
	}
	conn := dial(t, func(s *grpc.Server) {
		reflectionv1.RegisterServerReflectionServer(s, reflection.NewServerV1(reflection.ServerOptions{
			Services: said{"test.Store": {}, "grpc.reflection.v1.ServerReflection": {}}, DescriptorResolver: files,
		}))
	}, func(context.Context) {})
	got, err := load.Methods(t.Context(), conn)
	want := []load.Method{{Name: "/test.Store/Add"}, {Name: "/test.Store/Get", Safe: true, Pure: true}, {Name: "/test.Store/Put", Safe: true}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := load.Methods(t.Context(), dial(t, func(*grpc.Server) {}, func(context.Context) {})); !errors.Is(err, failure.InvalidArgument) {
		t.Errorf("a server that says nothing: %v, %v", got, err)
	}
}
