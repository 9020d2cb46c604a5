package etcdregistry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/holdfast-go/holdfast/registry/driver"
)

// watcher is one watch on a stream of its own. It ends with the stream and never resumes: whoever lost a stream
// does not know what it missed, and lists again.
type watcher struct {
	m       *member
	service string
	prefix  string
	stream  pb.Watch_WatchClient
	cancel  context.CancelFunc
	updates chan driver.Update

	once sync.Once
	err  error         // set before done is closed
	done chan struct{} // closed when the watch is over
}

// Watch implements driver.Registry.
func (d *Driver) Watch(ctx context.Context, service string, after uint64) (driver.Watcher, error) {
	var w *watcher
	err := d.do(ctx, func(ctx context.Context, s *session) (err error) {
		w, err = d.openWatch(ctx, s, service, int64(after)+1)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", service, err)
	}
	return w, nil
}

func (d *Driver) openWatch(ctx context.Context, s *session, service string, from int64) (*watcher, error) {
	streamCtx, cancel := context.WithCancel(clientv3.WithRequireLeader(d.ctx))
	w := &watcher{
		m: s.m, service: service, prefix: d.key(service, ""), cancel: cancel,
		updates: make(chan driver.Update), done: make(chan struct{}),
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
	if !d.spawn(w.receive) {
		w.fail(errClosed)
	}
	return w, nil
}

// create opens the stream and waits until etcd has accepted the watch.
func (w *watcher) create(ctx context.Context, s *session, from int64) (err error) {
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

// receive turns what the stream brings into updates until it ends.
func (w *watcher) receive() {
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
		case w.updates <- w.update(resp.Events):
		case <-w.done:
			return
		}
	}
}

func (w *watcher) update(events []*mvccpb.Event) driver.Update {
	u := driver.Update{Changes: make([]driver.Change, 0, len(events))}
	for _, e := range events {
		c := driver.Change{ID: strings.TrimPrefix(string(e.Kv.Key), w.prefix)}
		if e.Type == mvccpb.Event_PUT {
			if rec, err := decode(w.service, c.ID, e.Kv.Value); err != nil {
				c.Err = err
			} else {
				c.Record = &rec
			}
		}
		u.Changes = append(u.Changes, c)
	}
	return u
}

// Next implements driver.Watcher.
func (w *watcher) Next(ctx context.Context) (driver.Update, error) {
	select {
	case u := <-w.updates:
		return u, nil
	case <-ctx.Done():
		return driver.Update{}, ctx.Err()
	case <-w.done:
		return driver.Update{}, fmt.Errorf("watch %s: %w", w.service, w.err)
	}
}

// Close implements driver.Watcher.
func (w *watcher) Close() error {
	w.fail(errClosed)
	return nil
}

// fail ends the watch; the first reason counts.
func (w *watcher) fail(err error) {
	w.once.Do(func() {
		w.err = err
		w.cancel()
		close(w.done)
	})
}
