package transport

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/rpc"
)

const (
	serviceName    = "holdfast.replica.Transport"
	linkMethod     = "/" + serviceName + "/Link"
	snapshotMethod = "/" + serviceName + "/Snapshot"
	callMethod     = "/" + serviceName + "/Call"

	// What a call carries beside its message: who it is from, whom it is meant for, and what is asked.
	fromKey   = "replica-from-bin" // a name is any text
	toKey     = "replica-to-bin"
	methodKey = "replica-method"
	bootKey   = "replica-boot"

	maxHostName = 256
)

var (
	linkDesc     = grpc.StreamDesc{StreamName: "Link", ServerStreams: true, ClientStreams: true}
	snapshotDesc = grpc.StreamDesc{StreamName: "Snapshot", ServerStreams: true, ClientStreams: true}
	callOptions  = []grpc.CallOption{
		grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage), grpc.WaitForReady(false),
	}
)

// Server changes cfg so that a server of it can serve a Transport.
func Server(cfg rpc.ServerConfig) rpc.ServerConfig {
	// What others wait for is never turned away; a host that is too slow for it is noticed by its silence.
	cfg.Admission.Off = true
	cfg.MaxRecvBytes = maxMessage
	cfg.Options = append(cfg.Options[:len(cfg.Options):len(cfg.Options)], grpc.ForceServerCodecV2(codec{}))
	return cfg
}

// Register makes a server, of a ServerConfig that Server has changed, serve t.
func (t *Transport) Register(r grpc.ServiceRegistrar) {
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Call", Handler: serveCall}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Link", Handler: serveLink, ServerStreams: true, ClientStreams: true},
			{StreamName: "Snapshot", Handler: serveSnapshot, ServerStreams: true, ClientStreams: true},
		},
		Metadata: "replica/internal/transport",
	}, t)
}

func (t *Transport) greeting(to string) metadata.MD {
	return metadata.Pairs(fromKey, t.cfg.Self, toKey, to, bootKey, t.boot)
}

// caller returns who calls. It fails if somebody else is meant: an address may have been another host's before.
func (t *Transport) caller(ctx context.Context) (string, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	from, to := first(md.Get(fromKey)), first(md.Get(toKey))
	switch {
	case from == "":
		return "", failure.New(failure.InvalidArgument, "the caller has no name")
	case to != t.cfg.Self:
		return "", failure.New(failure.FailedPrecondition, "this is %s, not %s", t.cfg.Self, to)
	case from == t.cfg.Self:
		return "", failure.New(failure.FailedPrecondition, "there are two hosts with the name %s", t.cfg.Self)
	}
	return from, nil
}

func serveLink(srv any, s grpc.ServerStream) error {
	t := srv.(*Transport)
	from, err := t.caller(s.Context())
	if err != nil {
		return err
	}
	if err := s.SendHeader(metadata.Pairs(bootKey, t.boot)); err != nil {
		return err
	}
	md, _ := metadata.FromIncomingContext(s.Context())
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	return failure.Wrap(t.carry(ctx, from, first(md.Get(bootKey)), s, true), failure.Unavailable, "the stream has ended")
}

func first(values []string) string {
	if len(values) == 0 || len(values[0]) > maxHostName {
		return ""
	}
	return values[0]
}

// Call asks a host something and returns its answer. A ctx without deadline has none.
func (t *Transport) Call(ctx context.Context, host, method string, request []byte) ([]byte, error) {
	conn, err := t.conn(host)
	if err != nil {
		return nil, failure.Wrap(err, failure.Unavailable, "%s cannot be asked", host)
	}
	md := t.greeting(host)
	md.Set(methodKey, method)
	var out packet
	err = conn.Invoke(metadata.NewOutgoingContext(ctx, md), callMethod, &packet{out: mem.SliceBuffer(request)}, &out, callOptions...)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", host, err)
	}
	return out.in, nil
}

func serveCall(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // gRPC's form
	var in packet
	if err := dec(&in); err != nil {
		return nil, err
	}
	t := srv.(*Transport)
	handle := func(ctx context.Context, req any) (any, error) {
		from, err := t.caller(ctx)
		if err != nil {
			return nil, err
		}
		md, _ := metadata.FromIncomingContext(ctx)
		out, err := t.cfg.Handler.Call(ctx, from, first(md.Get(methodKey)), req.(*packet).in)
		if err != nil {
			return nil, err
		}
		return &packet{out: mem.SliceBuffer(out)}, nil
	}
	if interceptor == nil {
		return handle(ctx, &in)
	}
	return interceptor(ctx, &in, &grpc.UnaryServerInfo{Server: srv, FullMethod: callMethod}, handle)
}
