package rpc

import (
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/balance"
)

// roster is what people are told of the instances of a target, beside what its balancer knows.
type roster struct {
	mu        sync.Mutex
	instances map[string]instance // by id
	why       map[string]error    // there is no connection to them
}

// meet is told who the instances are.
func (r *roster) meet(instances map[string]instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.instances = make(map[string]instance, len(instances))
	for _, inst := range instances {
		r.instances[inst.id] = inst
	}
	for id := range r.why {
		if _, here := r.instances[id]; !here {
			delete(r.why, id)
		}
	}
}

// lost is told why there is no connection to an instance, or that there is one.
func (r *roster) lost(id string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		delete(r.why, id)
	case r.why == nil:
		r.why = map[string]error{id: err}
	default:
		r.why[id] = err
	}
}

// Instances returns what is known of the instances of the service, by ID. The slice is the caller's.
func (c *Client) Instances() []balance.Instance {
	var all []balance.Instance
	c.dialer.targets.Range(func(_, t any) bool {
		all = append(all, t.(*target).list(time.Now())...)
		return true
	})
	return all
}

func (t *target) list(now time.Time) []balance.Instance {
	all := t.balancer.Instances(now)
	t.roster.mu.Lock()
	defer t.roster.mu.Unlock()
	for i := range all {
		inst := t.roster.instances[all[i].ID]
		all[i].Addr = inst.addr
		switch {
		case inst.draining:
			all[i].State, all[i].Why, all[i].Until = balance.StateDraining, "it has said that it stops", time.Time{}
		case all[i].State == balance.StateUnreachable:
			if all[i].Why = "connecting"; t.roster.why[all[i].ID] != nil {
				all[i].Why = t.roster.why[all[i].ID].Error()
			}
		}
	}
	return slices.Clip(all)
}
