package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/holdfast-go/holdfast/replica"
)

// toldPeers is the peers that the parent tells a member of, as a registry would.
type toldPeers struct {
	mu      sync.Mutex
	peers   []replica.Peer
	changed chan struct{}
}

func newToldPeers(addrs map[string]string) *toldPeers {
	t := &toldPeers{changed: make(chan struct{})}
	t.set(addrs)
	return t
}

func (t *toldPeers) set(addrs map[string]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.peers = nil
	for name, addr := range addrs {
		t.peers = append(t.peers, replica.Peer{Name: name, Addr: addr})
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

// Watch implements replica.Peers.
func (t *toldPeers) Watch(ctx context.Context, update func([]replica.Peer)) error {
	for {
		t.mu.Lock()
		peers, changed := t.peers, t.changed
		t.mu.Unlock()
		update(peers)
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// listen takes what the parent writes, and returns when it is gone.
func (t *toldPeers) listen(in io.Reader) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var addrs map[string]string
		if json.Unmarshal(lines.Bytes(), &addrs) == nil {
			t.set(addrs)
		}
	}
}

// tell tells a child of its peers.
func (p *process) tell(addrs map[string]string) error {
	line, err := json.Marshal(addrs)
	if err == nil {
		_, err = p.in.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("tell %s: %w", p.spec.Name, err)
	}
	return nil
}
