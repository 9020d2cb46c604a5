package shard_test

import (
	"fmt"

	"github.com/holdfast-go/holdfast/replica/shard"
)

// A fourth host takes its share, and nothing moves between the others.
func ExamplePlan() {
	three := shard.Plan(4, 2, []string{"a", "b", "c"}, nil)
	four := shard.Plan(4, 2, []string{"a", "b", "c", "d"}, three)
	moved := 0
	for i := range three {
		for j := range three[i] {
			if three[i][j] != four[i][j] {
				moved++
				break
			}
		}
	}
	fmt.Println(len(three), "shards,", moved, "moved")
	// Output: 4 shards, 2 moved
}
