package drill_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/holdfast-go/holdfast/drill"
	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
	"github.com/holdfast-go/holdfast/platform/control"
)

// A drill in Go, for a system that runs, with an invariant that is a function.
func ExampleRun() {
	client := control.NewClient(control.DefaultAddr)
	defer client.Close()
	r := drill.Run(context.Background(), &drill.Scenario{
		Name: "orders-die",
		For:  30 * time.Second,
		Load: load.Mix{
			Steps: []load.Step{{From: 100, To: 100}}, // for as long as the drill
			Calls: []load.Call{{Name: "list", Weight: 1, Method: "GET", Path: "/api/orders"}},
		},
		Faults: []inject.Fault{
			{Kind: inject.Kill, At: 5 * time.Second, Target: []string{"orders"}},
			{Kind: inject.Freeze, At: 10 * time.Second, For: 5 * time.Second, Target: []string{"orders"}},
		},
		Expect: drill.Expect{Success: 0.9999, Mask: time.Second},
		Invariants: []check.Invariant{{Name: "no order twice", Func: &check.Func{
			Judge: func(ctx context.Context, w *check.World) check.Verdict {
				return check.Verdict{Answer: check.Holds, Says: "counted them"}
			},
		}}},
	}, drill.Config{Control: client, Seed: 7})
	if err := report.Terminal(os.Stdout, r, report.Screen{Width: 100}); err != nil {
		log.Fatal(err)
	}
	os.Exit(r.Verdict().ExitCode())
}

func ExampleParse() {
	_, err := drill.Parse("orders-die.yaml", []byte(`
for: 30s
faults:
  - {at: 5s, kil: orders}
  - {at: 28s, freeze: orders, for: 5s}
expect: {success: 9999%}
`))
	fmt.Println(err)
	// Output:
	// orders-die.yaml:4:5: what is broken? one of kill, freeze, slow-cpu, restart, scale, partition, latency, bandwidth, loss, reset, errors, disk, memory, clock, registry, broker, command, http
	// orders-die.yaml:4:14: unknown field kil; did you mean kill?
	// orders-die.yaml:5:5: the fault is over at 33s, after the load, which lasts 30s
	// orders-die.yaml:6:19: success: 9999% is not above 0% and up to 100%
}

// The faults of a seed are the same wherever they are drawn.
func ExampleDraw() {
	world := inject.World{Services: []inject.Service{
		{Name: "web", Instances: []string{"web-1", "web-2"}},
		{Name: "orders", Instances: []string{"orders-1", "orders-2", "orders-3"}},
	}}
	for _, f := range drill.Draw(drill.Random{Every: 5 * time.Second, Kinds: []inject.Kind{inject.Kill, inject.Freeze}}, world, 7, time.Minute) {
		fmt.Printf("%.1fs %s %v\n", f.At.Seconds(), f.Kind, f.Target)
	}
	// Output:
	// 5.0s freeze [web-1]
	// 18.2s kill [web-2]
	// 25.2s freeze [orders-2]
	// 37.7s kill [web-1]
}
