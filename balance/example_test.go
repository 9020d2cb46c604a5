package balance_test

import (
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/balance"
)

// What a client does around each attempt: pick, start, done.
func Example() {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	b := balance.New(balance.Config{OnEject: func(e balance.Event) {
		fmt.Printf("%s is ejected: %s\n", e.ID, e.Reason)
	}})

	// Whenever the set of instances changes; what is known about those that stay is kept.
	nodes := b.Update(now, []balance.Member{{ID: "inventory-1"}, {ID: "inventory-2"}, {ID: "inventory-3"}})
	// Whenever one can be reached, or no longer.
	view := b.View(now, nodes)

	for n := range uint64(20) {
		node := nodes[view.Pick(balance.Call{Now: now, Rand: n})]
		node.Start()
		end := now.Add(5 * time.Millisecond)
		if node.ID() == "inventory-2" { // it answers UNAVAILABLE
			b.Done(node, end, now, balance.None, balance.Bad)
		} else {
			b.Done(node, end, now, balance.Latency, balance.Good)
		}
		now = end
	}
	// A second attempt of the same call goes elsewhere.
	i := view.Pick(balance.Call{Now: now, Rand: 42, Tried: nodes[:1]})
	fmt.Println(nodes[i].ID())
	// Output:
	// inventory-2 is ejected: 5 failures in a row
	// inventory-3
}
