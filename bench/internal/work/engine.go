package work

import (
	"context"
	"path/filepath"

	"github.com/holdfast-go/holdfast/internal/consulagent"
)

// The engines that there are.
const (
	EngineEtcd   = "etcd"
	EngineConsul = "consul"
)

// Engine is a registry engine of one member in a process of its own, which can be killed and comes back with its data.
type Engine struct {
	// URL is what HOLDFAST_REGISTRY says to find it.
	URL string

	kill  func()
	start func(context.Context) error
}

// StartEngine starts an engine that keeps its data in dir. Consul's is built by `make consul`.
func StartEngine(ctx context.Context, engine, dir string) (*Engine, error) {
	if engine == EngineConsul {
		return startConsul(ctx, dir)
	}
	spec := Spec{Kind: Etcd, ID: engine, Dir: filepath.Join(dir, engine)}
	var err error
	if spec.Addr, err = FreeAddr(); err != nil {
		return nil, err
	}
	if spec.Peer, err = FreeAddr(); err != nil {
		return nil, err
	}
	p, err := Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &Engine{URL: "etcd://" + p.Addr, kill: p.Close, start: p.Restart}, nil
}

func startConsul(ctx context.Context, dir string) (*Engine, error) {
	a, err := consulagent.Start(ctx, consulagent.Config{Dir: dir, Servers: 1})
	if err != nil {
		return nil, err //nolint:wrapcheck // says it all
	}
	return &Engine{URL: "consul://" + a.Addr(), kill: a.Kill, start: a.Start}, nil
}

// Kill ends the engine without giving it a chance to notice.
func (e *Engine) Kill() { e.kill() }

// Restart starts the engine again after a Kill and returns once it serves.
func (e *Engine) Restart(ctx context.Context) error { return e.start(ctx) }

// Close kills the engine if it runs.
func (e *Engine) Close() { e.kill() }
