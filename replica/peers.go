package replica

import "context"

// Peer is a member, or one that could be: its name, which is the same after each restart, and where it listens now.
type Peer struct {
	Name string
	Addr string // host:port; may change
}

// Peers tells a host where the others are.
type Peers interface {
	// Watch calls update with all that are known, at once and whenever that changes, until ctx ends. This host's own
	// name may be among them. It calls update from one goroutine at a time and returns nil when ctx has ended.
	Watch(ctx context.Context, update func([]Peer)) error
}

// Static returns Peers that are known beforehand. Only they found a group: hosts of other names can join it.
func Static(peers ...Peer) Peers { return static(append([]Peer(nil), peers...)) }

type static []Peer

// Watch implements Peers.
func (s static) Watch(ctx context.Context, update func([]Peer)) error {
	update(s)
	<-ctx.Done()
	return nil
}
