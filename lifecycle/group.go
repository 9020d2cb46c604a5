package lifecycle

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// Group returns a component that runs others side by side: they are started together, it is ready when all are, a Drain
// goes to all, and they are stopped together. So the servers of one service stop to accept at the same time, and share
// the time they have to finish what is in flight. The first that returns stops the others; Run's error names those
// that failed, the first also when it says that it was canceled, which nobody asked of it. A Group of none waits to be
// stopped.
func Group(name string, components ...Component) Component {
	return &group{name: name, members: slices.Clone(components), ready: make(chan struct{})}
}

type group struct {
	name    string
	members []Component
	ready   chan struct{}
}

func (g *group) Name() string { return g.name }

func (g *group) Ready() <-chan struct{} { return g.ready }

func (g *group) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var first atomic.Pointer[task] // returned without being asked to
	stop := func(t *task) {
		if ctx.Err() == nil {
			first.CompareAndSwap(nil, t)
		}
		cancel()
	}
	var tasks []*task
	for _, c := range g.members {
		tasks = append(tasks, spawn(c, cancel, func() error { return c.Run(ctx) }, stop))
	}
	if g.allReady(ctx) {
		close(g.ready)
	}
	<-ctx.Done()
	var errs []error
	for _, t := range tasks {
		<-t.done
		if t == first.Load() || !canceled(t.err) {
			errs = append(errs, t.failure())
		}
	}
	return errors.Join(errs...)
}

func (g *group) allReady(ctx context.Context) bool {
	for _, c := range g.members {
		select {
		case <-readyOf(c):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

func (g *group) Drain(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, len(g.members))
	for i, c := range g.members {
		if d, ok := drainer(c); ok {
			wg.Go(func() { errs[i] = Recover(func() error { return d.Drain(ctx) }) })
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}
