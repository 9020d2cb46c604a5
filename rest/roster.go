package rest

import (
	"time"

	"github.com/holdfast-go/holdfast/balance"
)

// Instances returns what is known of the instances of each service that was called lately, by ID. Both are the caller's.
func (t *Transport) Instances() map[string][]balance.Instance {
	t.mu.RLock()
	targets := make([]*target, 0, len(t.targets))
	for _, g := range t.targets {
		targets = append(targets, g)
	}
	t.mu.RUnlock()
	now := time.Now()
	all := make(map[string][]balance.Instance, len(targets))
	for _, g := range targets {
		all[g.service] = g.list(now)
	}
	return all
}

func (g *target) list(now time.Time) []balance.Instance {
	all := g.balancer.Instances(now)
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range all {
		p := g.peers[all[i].ID]
		if p == nil { // it has left meanwhile
			continue
		}
		all[i].Addr = p.addr
		switch {
		case g.leaving[p.id]:
			all[i].State, all[i].Why, all[i].Until = balance.StateDraining, "it has said that it stops", time.Time{}
		case all[i].State == balance.StateUnreachable:
			if why := p.reason.Load(); why != nil {
				all[i].Why = *why
			}
		}
	}
	return all
}
