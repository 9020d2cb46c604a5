package etcdlock

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/holdfast-go/holdfast/internal/etcdmember"
	"github.com/holdfast-go/holdfast/lock/driver"
)

// Renew implements driver.Session: one keepalive on the open stream. An answer belongs to the request before it, since a
// stream whose answer was not waited for is given up.
func (s *session) Renew(ctx context.Context) error {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	return s.do(ctx, "renew session", s.keepAlive)
}

func (s *session) keepAlive(ctx context.Context, m *etcdmember.Session) (err error) {
	if s.stream == nil || s.on != m {
		s.hangUp()
		// The stream outlives the call; until it is proven, the call's end is its end.
		streamCtx, cancel := context.WithCancel(clientv3.WithRequireLeader(s.d.cluster.Context()))
		s.cancel, s.on = cancel, m
		stop := context.AfterFunc(ctx, cancel)
		s.stream, err = m.Lease.LeaseKeepAlive(streamCtx)
		stop()
		if err != nil {
			return s.broken(ctx, err)
		}
	}
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	if err := s.stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(s.lease)}); err != nil {
		// The reason is what Recv returns.
		if _, recvErr := s.stream.Recv(); recvErr != nil {
			err = recvErr
		}
		return s.broken(ctx, err)
	}
	resp, err := s.stream.Recv()
	if err != nil {
		return s.broken(ctx, err)
	}
	if resp.TTL <= 0 {
		s.hangUp()
		return driver.ErrLost
	}
	return nil
}

// broken gives up the stream and returns the error that the call ended with.
func (s *session) broken(ctx context.Context, err error) error {
	s.hangUp()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (s *session) hangUp() {
	if s.cancel != nil {
		s.cancel()
	}
	s.stream, s.on, s.cancel = nil, nil, nil
}
