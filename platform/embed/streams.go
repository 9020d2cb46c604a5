package embed

import (
	"context"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
)

// streams ends the long streams of clients (watches, lease keep-alives) when the member is to stop. A graceful stop of
// the gRPC server alone would wait for them until its timeout of 7 s, and the clients would stay that long with a member
// that is leaving.
type streams struct {
	ended chan struct{}
	once  sync.Once
}

func newStreams() *streams { return &streams{ended: make(chan struct{})} }

// end ends all streams, now and from now on.
func (s *streams) end() { s.once.Do(func() { close(s.ended) }) }

// intercept gives the client "server stopped" (UNAVAILABLE), after which etcd's clients go on at another member.
func (s *streams) intercept(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(stream.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-s.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := handle(srv, &endable{stream, ctx})
	left := stream.Context().Err() != nil // the client did
	cancel()
	<-done
	select {
	case <-s.ended:
		if !left {
			return rpctypes.ErrGRPCStopped
		}
	default:
	}
	return err
}

type endable struct {
	grpc.ServerStream
	ctx context.Context
}

func (e *endable) Context() context.Context { return e.ctx }
