package memregistry_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/registry/registrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type engine struct{ *memregistry.Driver }

func (e engine) Open(testing.TB) driver.Registry { return e.Driver }

func TestConformance(t *testing.T) {
	registrytest.Run(t, registrytest.Config{
		New:         func(*testing.T) registrytest.Engine { return engine{memregistry.New()} },
		In:          func(t *testing.T, run func(*testing.T)) { synctest.Test(t, run) },
		TTL:         10 * time.Second,
		RelistEvery: 30 * time.Second,
		Within:      10 * time.Second,
	})
}

// TestConformanceOfWholeLists: the same with an engine whose watches deliver the whole list, as Consul's do.
func TestConformanceOfWholeLists(t *testing.T) {
	registrytest.Run(t, registrytest.Config{
		New:         func(*testing.T) registrytest.Engine { return wholeEngine{memregistry.New()} },
		In:          func(t *testing.T, run func(*testing.T)) { synctest.Test(t, run) },
		TTL:         10 * time.Second,
		RelistEvery: 30 * time.Second,
		Within:      10 * time.Second,
	})
}

type wholeEngine struct{ *memregistry.Driver }

func (e wholeEngine) Open(testing.TB) driver.Registry { return whole(e) }

type whole struct{ *memregistry.Driver }

// Watch begins with what there is, as a blocking query does when something has happened since after.
func (d whole) Watch(ctx context.Context, service string, after uint64) (driver.Watcher, error) {
	l, err := d.List(ctx, service)
	if err != nil {
		return nil, err
	}
	w, err := d.Driver.Watch(ctx, service, l.Revision)
	if err != nil {
		return nil, err
	}
	return &wholeWatcher{Watcher: w, list: l, news: l.Revision > after}, nil
}

// wholeWatcher delivers a list for each change: what it skipped, nobody would see.
type wholeWatcher struct {
	driver.Watcher
	list    driver.Listing
	pending []driver.Change
	news    bool
}

func (w *wholeWatcher) Next(ctx context.Context) (driver.Update, error) {
	for !w.news {
		if len(w.pending) > 0 {
			w.apply(w.pending[0])
			w.pending, w.news = w.pending[1:], true
			break
		}
		u, err := w.Watcher.Next(ctx)
		if err != nil {
			return u, err
		}
		w.pending = u.Changes
	}
	w.news = false
	return driver.Update{Full: &driver.Listing{
		Records: slices.Clone(w.list.Records), Unreadable: slices.Clone(w.list.Unreadable), Revision: w.list.Revision,
	}}, nil
}

func (w *wholeWatcher) apply(c driver.Change) {
	w.list.Records = slices.DeleteFunc(w.list.Records, func(r driver.Record) bool { return r.ID == c.ID })
	w.list.Unreadable = slices.DeleteFunc(w.list.Unreadable, func(u driver.Unreadable) bool { return u.ID == c.ID })
	switch {
	case c.Err != nil:
		w.list.Unreadable = append(w.list.Unreadable, driver.Unreadable{ID: c.ID, Err: c.Err})
	case c.Record != nil:
		w.list.Records = append(w.list.Records, *c.Record)
	}
}
