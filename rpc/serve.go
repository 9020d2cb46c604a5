package rpc

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/resilience"
)

// maxHeaderBytes bounds the metadata of a call; grpc-go's default is 16 MiB for each.
const maxHeaderBytes = 64 << 10

// The flow control windows of both sides. By default grpc-go measures the network with pings of its own to choose them,
// up to 16 MiB. What is fixed here bounds memory, and fills 1 GB/s at a round trip of 1 ms.
const (
	streamWindow = 1 << 20
	connWindow   = 4 << 20
)

// serverOptions: cfg has its defaults.
func serverOptions(cfg ServerConfig, h *handling) []grpc.ServerOption {
	opts := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(append([]grpc.UnaryServerInterceptor{h.unary}, cfg.UnaryInterceptors...)...),
		grpc.ChainStreamInterceptor(append([]grpc.StreamServerInterceptor{h.stream}, cfg.StreamInterceptors...)...),
		// Clients ping an idle connection every 20 s, to find out about a peer that is gone. grpc-go's default
		// takes a ping more often than every 5 minutes for an attack and closes the connection.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: 20 * time.Second, Timeout: 5 * time.Second,
			MaxConnectionAge: cfg.MaxConnectionAge,
		}),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.MaxRecvMsgSize(cfg.MaxRecvBytes),
		grpc.MaxConcurrentStreams(cfg.MaxConcurrentStreams),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.WaitForHandlers(true),
		// Handlers run on goroutines that are kept, with the stacks they have grown; if all are busy, on new ones.
		grpc.NumStreamWorkers(64),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
	}
	if cfg.TLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(cfg.TLS)))
	}
	return append(opts, cfg.Options...)
}

// handling is what is around every handler.
type handling struct {
	log    *slog.Logger
	ending *ending
	gate   *gate
}

func newHandling(cfg ServerConfig, end *ending) *handling {
	return &handling{log: cfg.Logger, ending: end, gate: newGate(cfg)}
}

func (h *handling) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	h.ending.calls.Add(1)
	in := h.gate.read(ctx, info.FullMethod)
	ctx = h.observe(resilience.WithRequest(ctx, in.request), info.FullMethod, false, &in)
	var cancel context.CancelFunc
	if timeout := h.gate.timeout(); timeout > 0 {
		if _, ok := ctx.Deadline(); !ok {
			ctx, cancel = context.WithTimeout(ctx, timeout)
		}
	}
	refused := false
	defer func() {
		h.ending.calls.Add(-1)
		if v := recover(); v != nil {
			err = contain(v)
		}
		h.gate.leave(ctx, &in, err)
		if cancel != nil {
			cancel()
		}
		h.observed(ctx, &in, err)
		if err != nil && !refused {
			resp, err = nil, h.answer(ctx, info.FullMethod, err)
		}
	}()
	err = h.gate.enter(ctx, info.FullMethod, &in)
	h.admitted(&in, err)
	if err != nil {
		refused = true
		return nil, err
	}
	resp, err = handler(ctx, req)
	ask(err)
	return resp, err
}

func (h *handling) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	h.ending.calls.Add(1)
	in := h.gate.read(ss.Context(), info.FullMethod)
	ctx := resilience.WithRequest(context.WithValue(ss.Context(), endingKey{}, h.ending), in.request)
	ctx = h.observe(ctx, info.FullMethod, true, &in)
	if info.FullMethod == healthWatch {
		// It would go on until its client is gone, and draining would wait for that.
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(h.ending.ctx, cancel)()
	}
	refused := false
	defer func() {
		h.ending.calls.Add(-1)
		if v := recover(); v != nil {
			err = contain(v)
		}
		h.observed(ctx, &in, err)
		if err != nil && !refused {
			err = h.answer(ctx, info.FullMethod, err)
		}
	}()
	err = h.gate.set(ctx, info.FullMethod, &in)
	h.admitted(&in, err)
	if err != nil {
		refused = true
		return err
	}
	if strings.HasPrefix(info.FullMethod, reflectionPrefix) {
		return h.ending.within(func() error { return handler(srv, &serverStream{ServerStream: ss, ctx: ctx}) })
	}
	err = handler(srv, &serverStream{ServerStream: ss, ctx: ctx})
	ask(err)
	return err
}

// ask asks an error of a handler what it will be asked: that is not ours, and a nil pointer in it may panic. Here that is contained.
func ask(err error) {
	if err != nil {
		_ = failure.From(err)
		_ = errors.As(err, new(*lifecycle.PanicError))
	}
}

const (
	healthWatch      = "/grpc.health.v1.Health/Watch"
	reflectionPrefix = "/grpc.reflection."
)

// answer returns err as the status that is sent. A fault is logged, since its cause is not sent.
func (h *handling) answer(ctx context.Context, method string, err error) error {
	e := ownWord(failure.From(err))
	switch e.Code {
	case failure.Internal, failure.Unknown, failure.DataLoss:
		attrs := []slog.Attr{slog.String("method", method), slog.Any("error", err)}
		var p *lifecycle.PanicError
		if errors.As(err, &p) {
			attrs = append(attrs, slog.String("stack", string(p.Stack)))
		}
		h.log.LogAttrs(ctx, slog.LevelError, "rpc call failed", attrs...)
	default:
	}
	return e.GRPCStatus().Err()
}

// ownWord returns e without a reason that is this server's to give: passed on from another one, it would tell the caller
// that its call has not run here.
func ownWord(e *failure.Error) *failure.Error {
	if e.Shed() || e.Local() || e.Domain == failure.Domain && e.Reason == failure.ReasonQuota {
		return e.WithReason("", "")
	}
	return e
}

// contain returns the panic that v was recovered from as an error.
func contain(v any) error {
	return failure.Wrap(&lifecycle.PanicError{Value: v, Stack: debug.Stack()}, failure.Internal, "internal error")
}

// serverStream is a stream with another context.
type serverStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // how grpc-go passes one on
}

// Context implements grpc.ServerStream.
func (s *serverStream) Context() context.Context { return s.ctx }

// ending is the end of a server: whether it has begun, and the calls that are still running.
type ending struct {
	ctx   context.Context //nolint:containedctx // the server's, not a call's
	begin context.CancelFunc
	calls atomic.Int64
}

type endingKey struct{}

func newEnding() *ending {
	ctx, cancel := context.WithCancel(context.Background())
	return &ending{ctx: ctx, begin: cancel}
}

func (e *ending) running() int64 { return e.calls.Load() }

// within runs a handler that waits for its client and knows nothing of draining: it ends when that begins, as soon as its
// stream is gone, which is when within returns.
func (e *ending) within(handler func() error) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				done <- contain(v)
			}
		}()
		done <- handler()
	}()
	select {
	case err := <-done:
		return err
	case <-e.ctx.Done():
		return failure.New(failure.Unavailable, "the server is stopping")
	}
}

// Draining returns a channel that is closed when the server of the stream being served with ctx begins to stop. A
// handler of a long stream should then end it, in order, with UNAVAILABLE: what remains when DrainTimeout is over is
// cut. It is nil outside of a [Server]'s stream.
func Draining(ctx context.Context) <-chan struct{} {
	if e, ok := ctx.Value(endingKey{}).(*ending); ok {
		return e.ctx.Done()
	}
	return nil
}
