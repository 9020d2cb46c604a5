package rpc_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-go/holdfast/internal/memnet"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/rpc"
)

// The methods of the test service. The protobuf definition says of Look that it changes nothing, and of Put that it is
// idempotent.
const (
	say  = "/holdfast.test.Echo/Say"
	look = "/holdfast.test.Echo/Look"
	put  = "/holdfast.test.Echo/Put"
	chat = "/holdfast.test.Echo/Chat"
)

func TestMain(m *testing.M) {
	if err := define(); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// define registers the definition of the test service, as generated code would.
func define() error {
	method := func(name string, level descriptorpb.MethodOptions_IdempotencyLevel) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{
			Name: proto.String(name), InputType: proto.String(".google.protobuf.StringValue"), OutputType: proto.String(".google.protobuf.StringValue"),
			Options: &descriptorpb.MethodOptions{IdempotencyLevel: &level},
		}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("holdfast/test/echo.proto"), Package: proto.String("holdfast.test"), Syntax: proto.String("proto3"),
		Dependency: []string{"google/protobuf/wrappers.proto"},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: proto.String("Echo"),
			Method: []*descriptorpb.MethodDescriptorProto{
				method("Say", descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN),
				method("Look", descriptorpb.MethodOptions_NO_SIDE_EFFECTS),
				method("Put", descriptorpb.MethodOptions_IDEMPOTENT),
			},
		}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		return err
	}
	return protoregistry.GlobalFiles.RegisterFile(file)
}

// handler is one instance's: what it answers.
type handler struct {
	unary  func(ctx context.Context, in string) (string, error)
	stream func(s grpc.ServerStream) error
	calls  atomic.Int64
}

func (h *handler) register(r grpc.ServiceRegistrar) {
	unary := func(name string) grpc.MethodDesc {
		return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, decode func(any) error, ic grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.StringValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			run := func(ctx context.Context, req any) (any, error) {
				h.calls.Add(1)
				out, err := h.unary(ctx, req.(*wrapperspb.StringValue).GetValue())
				return wrapperspb.String(out), err
			}
			if ic == nil {
				return run(ctx, in)
			}
			return ic(ctx, in, &grpc.UnaryServerInfo{Server: h, FullMethod: "/holdfast.test.Echo/" + name}, run)
		}}
	}
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: "holdfast.test.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{unary("Say"), unary("Look"), unary("Put")},
		Streams: []grpc.StreamDesc{{StreamName: "Chat", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			h.calls.Add(1)
			return h.stream(s)
		}}},
	}, h)
}

// world is a service "echo" with its instances, registry and network.
type world struct {
	t   *testing.T
	ctx context.Context
	net *memnet.Network
	mem *memregistry.Driver
	reg *registry.Registry
}

// bubble runs test in a synctest bubble with a world of its own.
func bubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, ctx: t.Context(), net: memnet.New(), mem: memregistry.New()}
		w.reg = registry.New(w.mem, registry.Config{Logger: quiet})
		t.Cleanup(func() {
			w.reg.Close()
			w.mem.Close()
		})
		test(t, w)
	})
}

var quiet = slog.New(slog.DiscardHandler)

// host is one instance.
type host struct {
	*handler
	w      *world
	id     string
	addr   string
	server *rpc.Server
	serve  task // the server's Run
	record task // the announcement's
	said   *registry.Announcement
}

// task is a Run in its goroutine.
type task struct {
	stop context.CancelFunc
	done chan error
}

func begin(run func(context.Context) error) task {
	ctx, stop := context.WithCancel(context.Background())
	t := task{stop, make(chan error, 1)}
	go func() { t.done <- run(ctx) }()
	return t
}

func (t task) end() error {
	if t.stop == nil {
		return nil
	}
	t.stop()
	err := <-t.done
	t.done <- err
	return err
}

// start starts the instance id, which answers its id unless h says otherwise, and announces it.
func (w *world) start(id string, change ...func(*rpc.ServerConfig, *handler)) *host {
	w.t.Helper()
	h := w.serve(id, "127.0.0.1:0", change...)
	h.announce()
	return h
}

// serve starts the instance without telling the registry.
func (w *world) serve(id, addr string, change ...func(*rpc.ServerConfig, *handler)) *host {
	w.t.Helper()
	lis, err := w.net.Listen(addr)
	if err != nil {
		w.t.Fatal(err)
	}
	h := &host{w: w, id: id, addr: lis.Addr().String(), handler: &handler{
		unary:  func(context.Context, string) (string, error) { return id, nil },
		stream: func(s grpc.ServerStream) error { return s.SendMsg(wrapperspb.String(id)) },
	}}
	cfg := rpc.ServerConfig{Listener: lis, Logger: quiet}
	for _, c := range change {
		c(&cfg, h.handler)
	}
	if h.server, err = rpc.NewServer(cfg); err != nil {
		w.t.Fatal(err)
	}
	h.register(h.server)
	h.serve = begin(h.server.Run)
	w.t.Cleanup(func() {
		w.net.Restore(h.addr)
		h.record.end()
		h.serve.end()
	})
	return h
}

func (h *host) announce() {
	h.w.t.Helper()
	h.said = h.w.reg.Announce(registry.Instance{Service: "echo", ID: h.id, Endpoints: map[string]string{"grpc": h.addr}})
	h.record = begin(h.said.Run)
	<-h.said.Registered()
}

// kill ends the instance as kill -9 does. Its record stays: nobody has told the registry.
func (h *host) kill() {
	h.w.net.Cut(h.addr)
	h.server.Close()
}

// stop ends the instance as SIGTERM does.
func (h *host) stop() error {
	if h.said != nil {
		if err := h.said.Drain(context.Background()); err != nil {
			return err
		}
	}
	if err := h.server.Drain(context.Background()); err != nil {
		return err
	}
	wait(time.Second)
	return errors.Join(h.serve.end(), h.record.end())
}

// wait lets time pass in the bubble.
func wait(d time.Duration) { <-time.After(d) }

// dial returns a client of the service.
func (w *world) dial(change ...func(*rpc.ClientConfig)) *rpc.Client {
	w.t.Helper()
	cfg := rpc.ClientConfig{Logger: quiet, Options: []grpc.DialOption{grpc.WithContextDialer(w.net.Dial)}}
	for _, c := range change {
		c(&cfg)
	}
	client, err := rpc.Dial(w.reg, "echo", cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { client.Close() })
	return client
}

// call calls method and returns the answer.
func call(ctx context.Context, c grpc.ClientConnInterface, method string, opts ...grpc.CallOption) (string, error) {
	out := new(wrapperspb.StringValue)
	err := c.Invoke(ctx, method, wrapperspb.String("hello"), out, opts...)
	return out.GetValue(), err
}

// share makes n calls, one after the other, and counts who answered.
func share(t *testing.T, c grpc.ClientConnInterface, method string, n int) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	for i := range n {
		who, err := call(t.Context(), c, method)
		if err != nil {
			t.Fatalf("call %d of %d: %v", i+1, n, err)
		}
		counts[who]++
	}
	return counts
}

// connected waits until the connections of the client are made.
func connected() { synctest.Wait() }

// block answers when ctx is done, as a handler that hangs.
func block(ctx context.Context, _ string) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

// listenLoopback is a real listener, for what a bubble cannot have.
func listenLoopback(t testing.TB) net.Listener {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lis.Close() })
	return lis
}
