package etcdtest

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Late is a client whose member freezes when a write has reached it: that fails, and is carried out when the member thaws.
type Late struct {
	Client *clientv3.Client

	holds atomic.Bool
	held  chan func() error
}

// NewLate returns a Late of s. It is closed with the test.
func NewLate(t testing.TB, s *Server) *Late {
	t.Helper()
	l := &Late{held: make(chan func() error, 1)}
	var err error
	l.Client, err = clientv3.New(clientv3.Config{
		Endpoints: []string{s.Addr()}, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(l.intercept)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Client.Close() })
	return l
}

// Freeze holds up the next write, which fails.
func (l *Late) Freeze() { l.holds.Store(true) }

// Thaw carries out what was held up, which must be something.
func (l *Late) Thaw() error { return (<-l.held)() }

func (l *Late) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	write := strings.HasSuffix(method, "/Txn") || strings.HasSuffix(method, "/Put") || strings.HasSuffix(method, "/DeleteRange")
	if !write || !l.holds.CompareAndSwap(true, false) {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	l.held <- func() error { return invoke(context.WithoutCancel(ctx), method, req, reply, cc, opts...) }
	return status.Error(codes.Unavailable, "the member is frozen")
}
