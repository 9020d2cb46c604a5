//go:build unix

package consulagent

import (
	"context"
	"errors"
	"fmt"
)

// Cluster is servers that elect a leader among them.
type Cluster []*Agent

// StartCluster starts n servers and waits until they have a leader.
func StartCluster(ctx context.Context, dir string, n int, hcl string) (Cluster, error) {
	var c Cluster
	for i := range n {
		cfg := Config{Dir: dir, Name: fmt.Sprintf("server-%d", i+1), Servers: n, HCL: hcl}
		for _, a := range c {
			cfg.Join = append(cfg.Join, a.Gossip())
		}
		a, err := Start(ctx, cfg)
		if err != nil {
			c.Close()
			return nil, err
		}
		c = append(c, a)
	}
	for _, a := range c {
		if _, err := a.Leader(ctx); err != nil {
			c.Close()
			return nil, fmt.Errorf("elect a leader: %w", err)
		}
	}
	return c, nil
}

// Close ends all of them.
func (c Cluster) Close() {
	for _, a := range c {
		a.Close()
	}
}

// Addrs returns the host:port of each.
func (c Cluster) Addrs() []string {
	out := make([]string, 0, len(c))
	for _, a := range c {
		out = append(out, a.Addr())
	}
	return out
}

// Leader returns the one that leads, by what the first knows, and the others.
func (c Cluster) Leader(ctx context.Context) (leader *Agent, others Cluster, err error) {
	at, err := c[0].Leader(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, a := range c {
		if a.Leads(at) {
			leader = a
		} else {
			others = append(others, a)
		}
	}
	if leader == nil {
		return nil, nil, errors.New("the leader is none of the cluster")
	}
	return leader, others, nil
}
