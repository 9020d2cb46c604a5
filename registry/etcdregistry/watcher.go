package etcdregistry

import (
	"context"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/holdfast-go/holdfast/internal/etcdmember"
	"github.com/holdfast-go/holdfast/registry/driver"
)

// watcher is a watch of one service.
type watcher struct {
	service string
	prefix  string
	watch   *etcdmember.Watch
}

// Watch implements driver.Registry.
func (d *Driver) Watch(ctx context.Context, service string, after uint64) (driver.Watcher, error) {
	prefix := d.key(service, "")
	w, err := d.cluster.Watch(ctx, prefix, int64(after)+1)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", service, err)
	}
	return &watcher{service: service, prefix: prefix, watch: w}, nil
}

// Next implements driver.Watcher.
func (w *watcher) Next(ctx context.Context) (driver.Update, error) {
	events, err := w.watch.Next(ctx)
	if err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("watch %s: %w", w.service, err)
		}
		return driver.Update{}, err
	}
	return w.update(events), nil
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

// Close implements driver.Watcher.
func (w *watcher) Close() error { return w.watch.Close() }
