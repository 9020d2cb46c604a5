package balance

import "sync"

// Table keeps the nodes of one target over changes of its instances, so that what was learnt about an instance is
// not lost when another one comes or goes. The zero value is an empty table. Safe for concurrent use.
type Table struct {
	mu    sync.Mutex
	nodes map[string]*Node
}

// Update makes ids the instances of the table and returns their nodes in the order of ids: the node that the table
// already has for an id, else a new one. Nodes of other ids are forgotten. The returned slice is the caller's.
func (t *Table) Update(ids []string) []*Node {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := make(map[string]*Node, len(ids))
	out := make([]*Node, len(ids))
	for i, id := range ids {
		n := next[id]
		if n == nil {
			n = t.nodes[id]
		}
		if n == nil {
			n = NewNode(id)
		}
		next[id], out[i] = n, n
	}
	t.nodes = next
	return out
}

// Len returns the number of nodes.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.nodes)
}
