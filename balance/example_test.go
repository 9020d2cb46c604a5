package balance_test

import (
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/balance"
)

// What a client does around each attempt: pick, start, done.
func Example() {
	var table balance.Table
	picker := balance.NewP2C()

	// Whenever the set of instances changes; what is known about those that stay is kept.
	nodes := table.Update([]string{"inventory-1", "inventory-2"})

	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	call := func(node *balance.Node, took time.Duration, s balance.Sample) {
		node.Start()
		node.Done(now.Add(took), now, s)
		now = now.Add(took)
	}
	call(nodes[0], 250*time.Millisecond, balance.LowerBound) // it did not answer in time
	call(nodes[1], 5*time.Millisecond, balance.Latency)

	i := picker.Pick(nodes, balance.Call{Now: now, Rand: 42})
	fmt.Println(nodes[i].ID())

	// A second attempt of the same call goes elsewhere.
	i = picker.Pick(nodes, balance.Call{Now: now, Rand: 42, Tried: nodes[1:]})
	fmt.Println(nodes[i].ID())
	// Output:
	// inventory-2
	// inventory-1
}
