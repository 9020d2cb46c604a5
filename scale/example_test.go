package scale_test

import (
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/scale"
)

func ExampleDecide() {
	policy := scale.Policy{Min: 2, Max: 8, Targets: []scale.Target{{Metric: scale.InFlight, Value: 20}}}
	now := time.Date(2026, 1, 1, 3, 0, 0, 0, time.UTC)
	var state scale.State
	var d scale.Decision
	for range 4 {
		d, state = scale.Decide(policy, state, now, scale.Sample{
			Wanted: 2, Ready: 2, Readings: []scale.Reading{{Sum: 90, Of: 2}},
		})
		now = now.Add(time.Second)
	}
	fmt.Printf("2 → %d: %s\n", d.Replicas, d.Why)
	// Output: 2 → 4: in-flight 45 per instance, target 20
}
