package etcdregistry

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/holdfast-go/holdfast/internal/etcdmember"
	"github.com/holdfast-go/holdfast/registry/driver"
)

// registration is a key under a lease of its own.
type registration struct {
	d                  *Driver
	service, id, owner string
	key                string
	lease              clientv3.LeaseID

	// The stream for renewals is kept between them: with a password, opening one costs etcd a bcrypt.
	stream pb.Lease_LeaseKeepAliveClient
	on     *etcdmember.Session // what stream runs on
	cancel context.CancelFunc
}

// Renew implements driver.Registration.
func (r *registration) Renew(ctx context.Context) error {
	err := r.d.cluster.Do(ctx, func(ctx context.Context, s *etcdmember.Session) error {
		if err := r.keepAlive(ctx, s); err != nil {
			return err
		}
		return r.check(ctx, s)
	})
	if err != nil {
		return fmt.Errorf("renew %s/%s: %w", r.service, r.id, err)
	}
	return nil
}

// keepAlive extends the lease once, on the open stream if it belongs to s.
func (r *registration) keepAlive(ctx context.Context, s *etcdmember.Session) (err error) {
	if r.stream == nil || r.on != s {
		r.hangUp()
		// The stream outlives the call; until it is proven, the call's end is its end.
		streamCtx, cancel := context.WithCancel(clientv3.WithRequireLeader(r.d.cluster.Context()))
		r.cancel, r.on = cancel, s
		stop := context.AfterFunc(ctx, cancel)
		r.stream, err = s.Lease.LeaseKeepAlive(streamCtx)
		stop()
		if err != nil {
			return r.broken(ctx, err)
		}
	}
	stop := context.AfterFunc(ctx, r.cancel)
	defer stop()
	if err := r.stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(r.lease)}); err != nil {
		// The reason is what Recv returns.
		if _, recvErr := r.stream.Recv(); recvErr != nil {
			err = recvErr
		}
		return r.broken(ctx, err)
	}
	resp, err := r.stream.Recv()
	if err != nil {
		return r.broken(ctx, err)
	}
	if resp.TTL <= 0 {
		r.hangUp()
		return driver.ErrLost
	}
	return nil
}

// broken gives up the stream and returns the error that the call ended with.
func (r *registration) broken(ctx context.Context, err error) error {
	r.hangUp()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if leaseGone(err) {
		return driver.ErrLost
	}
	return err
}

func (r *registration) hangUp() {
	if r.cancel != nil {
		r.cancel()
	}
	r.stream, r.on, r.cancel = nil, nil, nil
}

// check reads the record and says whether it is held.
func (r *registration) check(ctx context.Context, s *etcdmember.Session) error {
	cur, err := s.KV.Get(ctx, r.key)
	if err != nil {
		return err
	}
	if len(cur.Kvs) == 0 {
		r.hangUp()
		return driver.ErrLost
	}
	if err := r.whose(cur.Kvs[0]); err != nil {
		r.hangUp()
		return err
	}
	return nil
}

// whose returns nil for the record as we hold it, ErrTaken for a living one of somebody else, and otherwise ErrLost:
// it is ours under an older lease, or cannot be read, or is under no lease, and so belongs to nobody who is alive
// (a backup that was restored, something written by hand).
func (r *registration) whose(kv *mvccpb.KeyValue) error {
	rec, err := decode(r.service, r.id, kv.Value)
	switch {
	case err != nil || kv.Lease == 0:
		return driver.ErrLost
	case rec.Owner != r.owner:
		return driver.ErrTaken
	case kv.Lease != int64(r.lease):
		return driver.ErrLost
	}
	return nil
}

// Update implements driver.Registration. It changes the record as it was when it began: an attempt that was given up may still
// be on its way, in a member that was frozen, and come to etcd after a later change.
func (r *registration) Update(ctx context.Context, rec driver.Record) error {
	value, err := encode(rec)
	if err == nil {
		err = r.d.cluster.Do(ctx, func(ctx context.Context, s *etcdmember.Session) error {
			for {
				done, err := r.write(ctx, s, string(value))
				if err != nil || done {
					return err
				}
			}
		})
	}
	if err != nil {
		return fmt.Errorf("update %s/%s: %w", r.service, r.id, err)
	}
	return nil
}

// write puts value in the place of the record, unless that is changed meanwhile.
func (r *registration) write(ctx context.Context, s *etcdmember.Session, value string) (done bool, err error) {
	now, err := s.KV.Get(ctx, r.key)
	if err != nil {
		return false, err
	}
	if len(now.Kvs) == 0 {
		return false, driver.ErrLost
	}
	if err := r.whose(now.Kvs[0]); err != nil {
		return false, err
	}
	resp, err := s.KV.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(r.key), "=", now.Kvs[0].ModRevision)).
		Then(clientv3.OpPut(r.key, value, clientv3.WithLease(r.lease))).
		Commit()
	if leaseGone(err) {
		return false, driver.ErrLost
	}
	return err == nil && resp.Succeeded, err
}

// Deregister implements driver.Registration: ending the lease removes what is under it, which is never the record of
// another owner or of a newer registration.
func (r *registration) Deregister(ctx context.Context) error {
	r.hangUp()
	err := r.d.cluster.Do(ctx, func(ctx context.Context, s *etcdmember.Session) error {
		_, err := s.Lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: int64(r.lease)})
		if leaseGone(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("deregister %s/%s: %w", r.service, r.id, err)
	}
	return nil
}
