package work

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Engines are the registry engines that there are.
var Engines = []Kind{Etcd, Consul}

// Engine is a registry engine in a process of its own, which can be killed and comes back with its data.
type Engine struct {
	// URL is what HOLDFAST_REGISTRY says to find it.
	URL string
	*Process
}

// StartEngine starts an engine of one member that keeps its data in dir. ErrNoAgent is in the error if it is Consul and
// no agent has been built.
func StartEngine(ctx context.Context, kind Kind, dir string) (*Engine, error) {
	spec := Spec{Kind: kind, ID: string(kind), Dir: filepath.Join(dir, string(kind))}
	var err error
	if spec.Addr, err = FreeAddr(); err != nil {
		return nil, err
	}
	if spec.Peer, err = FreeAddr(); err != nil {
		return nil, err
	}
	e := &Engine{URL: string(kind) + "://" + spec.Addr}
	if kind == Consul {
		if spec.Agent, err = agent(); err != nil {
			return nil, err
		}
		if spec.Gossip, err = FreeAddr(); err != nil {
			return nil, err
		}
	}
	if e.Process, err = Start(ctx, spec); err != nil {
		return nil, err
	}
	if err := e.await(ctx); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// Restart starts the engine again after a Kill and returns once it serves.
func (e *Engine) Restart(ctx context.Context) error {
	if err := e.Process.Restart(ctx); err != nil {
		return err
	}
	return e.await(ctx)
}

// await waits until a Consul agent has a leader: it has said hello before it was one.
func (e *Engine) await(ctx context.Context) error {
	if e.Spec.Kind != Consul {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if leads(ctx, e.Spec.Addr) {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-e.ended:
			return fmt.Errorf("consul agent: it ended: %s", e.Said())
		case <-ctx.Done():
			return fmt.Errorf("consul agent: no leader: %w: %s", context.Cause(ctx), e.Said())
		}
	}
}

func leads(ctx context.Context, addr string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v1/status/leader", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 100))
	return err == nil && resp.StatusCode == http.StatusOK && strings.Contains(string(body), ":")
}

// ErrNoAgent says that there is no Consul agent to run.
var ErrNoAgent = errors.New("no Consul agent: run `make consul`, or name one in HOLDFAST_CONSUL")

// agent returns the Consul agent's program.
func agent() (string, error) {
	if path := os.Getenv("HOLDFAST_CONSUL"); path != "" {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoAgent, err)
	}
	found, err := filepath.Glob(filepath.Join(cache, "holdfast", "consul*", "consul*"))
	if err != nil || len(found) == 0 {
		return "", ErrNoAgent
	}
	return found[len(found)-1], nil
}

// agentArgs is the command line of a server that is a cluster of its own.
func agentArgs(spec Spec) ([]string, error) {
	_, http, err := net.SplitHostPort(spec.Addr)
	if err != nil {
		return nil, fmt.Errorf("consul agent: %w", err)
	}
	_, rpc, err := net.SplitHostPort(spec.Peer)
	if err != nil {
		return nil, fmt.Errorf("consul agent: %w", err)
	}
	_, serf, err := net.SplitHostPort(spec.Gossip)
	if err != nil {
		return nil, fmt.Errorf("consul agent: %w", err)
	}
	return []string{
		spec.Agent, "agent", "-server", "-bootstrap-expect", "1", "-node", "bench", "-bind", "127.0.0.1", "-client", "127.0.0.1",
		"-data-dir", spec.Dir, "-log-level", "err", "-http-port", http, "-server-port", rpc, "-serf-lan-port", serf,
		"-hcl", fmt.Sprintf(`disable_update_check = true
performance { raft_multiplier = 1 }
ports { dns = -1, grpc = -1, grpc_tls = -1, serf_wan = -1, server = %s, serf_lan = %s }`, rpc, serf),
	}, nil
}
