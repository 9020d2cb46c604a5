package natsqueue

import (
	"context"
	"errors"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// attach makes sure that lanes are read.
func (o *ordered) attach(ctx context.Context) error {
	o.mu.Lock()
	var todo []*lane
	for _, l := range o.lanes {
		if !l.attached && l.leaving.IsZero() {
			todo = append(todo, l)
		}
	}
	t := o.t
	o.mu.Unlock()
	if len(todo) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	errs, names, afters := make([]error, len(todo)), make([]string, len(todo)), make([]uint64, len(todo))
	var wg sync.WaitGroup
	for i, l := range todo {
		wg.Go(func() { names[i], afters[i], errs[i] = o.consumer(ctx, t, l) })
	}
	wg.Wait()
	// Asked after the consumers were made: another stream of that name, which may have come at any time, counts its
	// messages anew, and those before the numbers that are known would never be seen.
	info, err := o.e.link.js.Stream(ctx, o.e.names.stream(t.name))
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound), err == nil && !info.CachedInfo().Created.Equal(t.created):
		o.mu.Lock()
		for _, l := range o.lanes {
			o.lose(l)
		}
		o.mu.Unlock()
		return errors.Join(err, o.renew(ctx))
	case err != nil:
		return errors.Join(errors.Join(errs...), err)
	}
	for i, l := range todo {
		if errs[i] == nil {
			errs[i] = o.attachOne(t, l, names[i], afters[i])
		}
	}
	signal(o.wake)
	return errors.Join(errs...)
}

// consumer makes one that reads a lane, from after what was fetched.
func (o *ordered) consumer(ctx context.Context, t *topic, l *lane) (name string, after uint64, err error) {
	o.mu.Lock()
	after = l.last
	o.mu.Unlock()
	c, err := o.e.link.js.CreateConsumer(ctx, o.e.names.stream(t.name), o.e.laneConsumer(t, o.s.Group, l.n, after, laneIdle))
	if err != nil {
		return "", 0, translate(err)
	}
	return c.CachedInfo().Name, after, nil
}

func (o *ordered) attachOne(t *topic, l *lane, name string, after uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if l.last != after || !l.leaving.IsZero() {
		return nil // next time
	}
	if err := l.pull.attach(o.e.names.stream(t.name), name); err != nil {
		return err
	}
	l.attached, l.count = true, 0
	return nil
}

// commit writes what was settled since it was last written.
func (o *ordered) commit(ctx context.Context) {
	for {
		o.mu.Lock()
		var ls []*lane
		var ws []laneWrite
		var versions []uint64
		for _, l := range o.lanes {
			if l.version > l.written {
				ls = append(ls, l)
				ws = append(ws, laneWrite{l.n, l.next(o.id), l.revision})
				versions = append(versions, l.version)
			}
		}
		o.mu.Unlock()
		if len(ws) == 0 {
			return
		}
		seqs, errs := o.e.writeLanes(ctx, o.t, o.s.Group, ws)
		o.mu.Lock()
		failed := false
		for i, l := range ls {
			switch {
			case errs[i] == nil:
				l.rec, l.revision, l.written = ws[i].record, seqs[i], versions[i]
			case errors.Is(errs[i], errLaneLost), errors.Is(errs[i], errNoStream):
				if o.lanes[l.n] == l {
					o.lose(l)
				}
			default:
				failed = true
			}
		}
		o.news()
		o.mu.Unlock()
		if failed {
			return // at the next tick
		}
	}
}
