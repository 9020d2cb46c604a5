package lifecycle

import (
	"context"
	"fmt"
	"slices"
)

// Component is something that runs for as long as the service does.
type Component interface {
	// Run blocks until ctx is done and what was in flight is finished, or until it fails. It joins every goroutine it
	// started before it returns. It returns nil after a clean stop; ctx's own error counts as nil.
	// Run is called once.
	Run(ctx context.Context) error
}

// Readier is a Component that takes time to be of use. The next component is started after Ready is closed.
type Readier interface {
	// Ready returns the same channel each time, also before Run is called. It need not be closed if Run returns.
	Ready() <-chan struct{}
}

// Drainer is a Component that others have to be told of before it stops.
type Drainer interface {
	// Drain tells others to go elsewhere and returns; it does not wait for them, and the component keeps serving.
	// It returns when ctx is done at the latest. It is called at most once, while Run runs.
	Drain(ctx context.Context) error
}

// Namer is a Component with a name for logs and errors. Others are called by their type.
type Namer interface {
	// Name may be called at any time.
	Name() string
}

// Func is a function as a Component.
type Func func(ctx context.Context) error

// Run calls f.
func (f Func) Run(ctx context.Context) error { return f(ctx) }

// Named returns c under another name. It is ready and drains as c does.
func Named(name string, c Component) Component { return &named{Component: c, name: name} }

type named struct {
	Component
	name string
}

func (n *named) Name() string { return n.name }

func (n *named) Ready() <-chan struct{} {
	if r, ok := n.Component.(Readier); ok {
		return r.Ready()
	}
	return closed()
}

func (n *named) Drain(ctx context.Context) error {
	if d, ok := n.Component.(Drainer); ok {
		return d.Drain(ctx)
	}
	return nil
}

// drainer looks through Named and Group, which have the method whether or not there is something to drain.
func drainer(c Component) (Drainer, bool) {
	switch x := c.(type) {
	case *named:
		return drainer(x.Component)
	case *group:
		return x, slices.ContainsFunc(x.members, func(m Component) bool {
			_, ok := drainer(m)
			return ok
		})
	}
	d, ok := c.(Drainer)
	return d, ok
}

func nameOf(c Component) string {
	if n, ok := c.(Namer); ok {
		return n.Name()
	}
	return fmt.Sprintf("%T", c)
}

func readyOf(c Component) <-chan struct{} {
	if r, ok := c.(Readier); ok {
		return r.Ready()
	}
	return closed()
}

func closed() <-chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}
