package work

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/bench/internal/work/workpb"
	"github.com/holdfast-go/holdfast/rpc"
)

// Fault is how a server misbehaves that is neither killed nor frozen. The zero value is no fault.
type Fault struct {
	// Slow makes work take that many times as long; 0 is 1.
	Slow float64
	// Unavailable answers UNAVAILABLE at once.
	Unavailable bool
	// Failing answers UNAVAILABLE after the work, for that share of the calls.
	Failing float64
}

// server implements the service.
type server struct {
	workpb.UnimplementedWorkServer
	id    string
	queue *queue
	fault atomic.Pointer[Fault]
}

func newServer(id string, l Load) *server {
	s := &server{id: id, queue: newQueue(l)}
	s.fault.Store(&Fault{})
	return s
}

func (s *server) set(f Fault) {
	s.fault.Store(&f)
	if f.Slow == 0 {
		f.Slow = 1
	}
	s.queue.slowDown(f.Slow)
}

func (s *server) work() error {
	f := s.fault.Load()
	if f.Unavailable {
		return status.Error(codes.Unavailable, "out of order")
	}
	s.queue.work()
	if s.queue.chance(f.Failing) {
		return status.Error(codes.Unavailable, "failed by chance")
	}
	return nil
}

// Do implements workpb.WorkServer.
func (s *server) Do(context.Context, *workpb.DoRequest) (*workpb.DoResponse, error) {
	if err := s.work(); err != nil {
		return nil, err
	}
	return &workpb.DoResponse{Instance: s.id}, nil
}

// Book implements workpb.WorkServer.
func (s *server) Book(context.Context, *workpb.BookRequest) (*workpb.BookResponse, error) {
	if err := s.work(); err != nil {
		return nil, err
	}
	return &workpb.BookResponse{Instance: s.id}, nil
}

// Tick implements workpb.WorkServer. On a server that does not say when it drains, the stream never ends by itself.
func (s *server) Tick(req *workpb.TickRequest, out grpc.ServerStreamingServer[workpb.TickResponse]) error {
	tick := time.NewTicker(max(time.Millisecond, time.Duration(req.GetEveryMs())*time.Millisecond))
	defer tick.Stop()
	for last := false; ; {
		if err := out.Send(&workpb.TickResponse{Instance: s.id, Last: last}); err != nil || last {
			return err //nolint:wrapcheck // a status
		}
		select {
		case <-tick.C:
		case <-rpc.Draining(out.Context()):
			last = true
		case <-out.Context().Done():
			return status.FromContextError(out.Context().Err()).Err()
		}
	}
}
