package replica

import (
	"context"
	"errors"

	"github.com/holdfast-go/holdfast/registry"
)

// Endpoint is the protocol of a registry.Instance under which the address of its Host is announced.
const Endpoint = "raft"

// Registered returns the Peers that a registry knows: the instances of a service that announce an Endpoint, by their IDs.
// What vanishes from the registry is still dialled for as long as the registry's own rules say so. The caller keeps reg
// and closes it after the Host.
func Registered(reg *registry.Registry, service string) Peers { return registered{reg, service} }

type registered struct {
	reg     *registry.Registry
	service string
}

// Watch implements Peers.
func (r registered) Watch(ctx context.Context, update func([]Peer)) error {
	w := r.reg.Watch(r.service)
	defer w.Stop()
	for {
		set, err := w.Next(ctx)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, registry.ErrClosed) {
				return nil
			}
			return err
		}
		var peers []Peer
		for _, i := range set.Instances {
			if addr := i.Endpoints[Endpoint]; addr != "" {
				peers = append(peers, Peer{Name: i.ID, Addr: addr})
			}
		}
		update(peers)
	}
}
