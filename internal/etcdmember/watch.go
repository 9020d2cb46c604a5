package etcdmember

import (
	"context"
	"errors"
	"fmt"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var errWatchClosed = errors.New("watch closed")

// Watch is one watch of the keys below a prefix, on a stream of its own. It ends with the stream and never resumes: whoever
// lost a stream does not know what it missed, and lists again.
type Watch struct {
	m      *member
	prefix string
	stream pb.Watch_WatchClient
	cancel context.CancelFunc
	events chan []*mvccpb.Event

	once sync.Once
	err  error         // set before done is closed
	done chan struct{} // closed when the watch is over
}

// Watch opens a watch of the keys that begin with prefix, from a revision on. Only the opening is bounded by ctx.
func (c *Cluster) Watch(ctx context.Context, prefix string, from int64) (*Watch, error) {
	var w *Watch
	err := c.Do(ctx, func(ctx context.Context, s *Session) (err error) {
		w, err = c.openWatch(ctx, s, prefix, from)
		return err
	})
	return w, err
}

func (c *Cluster) openWatch(ctx context.Context, s *Session, prefix string, from int64) (*Watch, error) {
	streamCtx, cancel := context.WithCancel(clientv3.WithRequireLeader(c.ctx))
	w := &Watch{
		m: s.m, prefix: prefix, cancel: cancel,
		events: make(chan []*mvccpb.Event), done: make(chan struct{}),
	}
	stop := context.AfterFunc(ctx, cancel) // the opening is bounded, the stream is not
	err := w.create(streamCtx, s, from)
	if !stop() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		cancel()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	s.m.attach(w)
	if !c.spawn(w.receive) {
		w.fail(ErrClosed)
	}
	return w, nil
}

// create opens the stream and waits until etcd has accepted the watch.
func (w *Watch) create(ctx context.Context, s *Session, from int64) (err error) {
	w.stream, err = s.watch.Watch(ctx)
	if err != nil {
		return err
	}
	err = w.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
		Key: []byte(w.prefix), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(w.prefix)), StartRevision: from,
	}}})
	// After a failed Send, Recv has the reason.
	resp, recvErr := w.stream.Recv()
	switch {
	case recvErr != nil:
		return recvErr
	case err != nil:
		return err
	case !resp.Created || resp.Canceled:
		return canceled(resp)
	}
	return nil
}

func canceled(resp *pb.WatchResponse) error {
	if resp.CompactRevision != 0 {
		return fmt.Errorf("history before revision %d is compacted", resp.CompactRevision)
	}
	return fmt.Errorf("canceled by etcd: %s", resp.CancelReason)
}

// receive hands on what the stream brings until it ends.
func (w *Watch) receive() {
	defer w.m.detach(w)
	for {
		resp, err := w.stream.Recv()
		if err == nil && resp.Canceled {
			err = canceled(resp)
		}
		if err != nil {
			w.fail(err)
			return
		}
		if len(resp.Events) == 0 {
			continue
		}
		select {
		case w.events <- resp.Events:
		case <-w.done:
			return
		}
	}
}

// Next blocks until there are events or ctx ends. After an error other than ctx's own the watch is over.
func (w *Watch) Next(ctx context.Context) ([]*mvccpb.Event, error) {
	select {
	case events := <-w.events:
		return events, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-w.done:
		return nil, w.err
	}
}

// Close ends the watch. It may be called at any time, and returns nil.
func (w *Watch) Close() error {
	w.fail(errWatchClosed)
	return nil
}

// fail ends the watch; the first reason counts.
func (w *Watch) fail(err error) {
	w.once.Do(func() {
		w.err = err
		w.cancel()
		close(w.done)
	})
}
