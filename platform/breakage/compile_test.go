package breakage

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/platform/control"
)

var update = flag.Bool("update", false, "write what the tests see into testdata")

// shop has two that follow, one that does not, a control member and the platform's edge.
func shop() World {
	return World{
		Instances: []Instance{
			{ID: "control-1", Service: "control", PID: 1, Settled: true, Addrs: []string{"control-1:2379", "control-1:4222"}},
			{ID: "orders-1", Service: "orders", PID: 2, Settled: true, Follows: true, Addrs: []string{"orders-1:1", "orders-1:2"}},
			{ID: "orders-2", Service: "orders", PID: 3, Settled: true, Follows: true, Addrs: []string{"orders-2:1"}},
			{ID: "legacy-1", Service: "legacy", PID: 4, Settled: true, Addrs: []string{"legacy-1:1"}},
		},
		Registry: []string{"control-1:2379"}, Queue: []string{"control-1:4222"}, Edge: []string{"edge:8080"},
	}
}

// TestCompile shows what each process is told because of some faults.
func TestCompile(t *testing.T) {
	one, other := control.Shape{CutOut: true}, control.Shape{Delay: time.Millisecond}
	refuse := control.Shape{Refuse: true, Reset: true, ResetEvery: time.Second}
	replicas := 5
	cases := []struct {
		name string
		reqs []control.FaultRequest
	}{
		{"one way between two: both ends know, each for what it dials", []control.FaultRequest{netFault("orders-1", "orders-2", one)}},
		{"refused and reset: only who dials", []control.FaultRequest{netFault("orders-1", "orders-2", refuse)}},
		{"from one to everybody: what it dials, and what it accepts", []control.FaultRequest{netFault("orders-1", "*", one)}},
		{"from everybody to one: the other way round", []control.FaultRequest{netFault("*", "orders-1", one)}},
		{"everybody to everybody: each what it dials, so that nothing is delayed twice", []control.FaultRequest{netFault("*", "*", other)}},
		{"an engine, not the rest of the process that it is in", []control.FaultRequest{netFault("*", "registry", other)}},
		{"an address outside", []control.FaultRequest{netFault("orders-1", "broker:9092", refuse)}},
		{"a member that answers nobody", []control.FaultRequest{netFault("control-1", "orders-1", one)}},
		{"the platform", []control.FaultRequest{netFault("edge", "orders-1", one), netFault("edge", "*", other)}},
		{"two at once add up, address by address", []control.FaultRequest{netFault("orders-1", "orders-2", other), netFault("orders-1", "*", other)}},
		{"the same with itself is nothing", []control.FaultRequest{netFault("orders-1", "orders-1", one)}},
		{"everything that a process suffers by itself", []control.FaultRequest{
			freeze("orders-1"), slow(0.5, "orders-1"), slow(0.5, "orders-1"),
			{Kind: control.FaultMemory, Targets: []string{"orders-1"}, Bytes: 1},
			{Kind: control.FaultMemory, Targets: []string{"orders-1"}, Bytes: 2},
			{Kind: control.FaultDisk, Targets: []string{"orders-1"}, Disk: &control.Disk{Full: true, SlowSync: time.Second}},
			{Kind: control.FaultDisk, Targets: []string{"orders-1"}, Disk: &control.Disk{FailSync: true, SlowSync: time.Second}},
			{Kind: control.FaultCalls, Targets: []string{"orders-1"}, Calls: []control.Calls{{Share: 0.1, Code: "UNAVAILABLE"}}},
			{Kind: control.FaultCalls, Targets: []string{"orders-1"}, Calls: []control.Calls{{Share: 1, Delay: time.Second}}},
			{Kind: control.FaultScale, Targets: []string{"orders"}, Replicas: &replicas},
		}},
	}
	var out strings.Builder
	for _, c := range cases {
		fmt.Fprintf(&out, "# %s\n", c.name)
		for _, r := range c.reqs {
			fmt.Fprintf(&out, "%s\n", describe(r))
		}
		treatments := compile(faultsOf(c.reqs), shop(), false)
		for _, id := range slices.Sorted(maps.Keys(treatments)) {
			tr := treatments[id]
			b, err := json.Marshal(tr.Plan)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "    %s: %s", id, b)
			if tr.Frozen || tr.Share != 0 {
				fmt.Fprintf(&out, " frozen %v, share %v", tr.Frozen, tr.Share)
			}
			fmt.Fprintln(&out)
			if err := tr.Plan.Validate(); err != nil {
				t.Errorf("%s: %s: %v", c.name, id, err)
			}
		}
	}
	const file = "testdata/compile.txt"
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != out.String() {
		t.Errorf("%s differs (-update writes it anew): %v\n%s", file, err, out.String())
	}
}

func faultsOf(reqs []control.FaultRequest) (faults []control.Fault) {
	for _, r := range reqs {
		faults = append(faults, control.Fault{FaultRequest: r})
	}
	return faults
}

// TestCompileOrder: the order in which faults begin does not matter, nor which have been there, and what comes of any number of
// them is a plan that a process takes.
func TestCompileOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var reqs []control.FaultRequest
		for range rapid.IntRange(0, 12).Draw(t, "faults") {
			st := drawStep(t)
			st.Req.Links = slices.DeleteFunc(st.Req.Links, func(l control.Link) bool { return checkLink(l, shop(), false) != nil })
			if st.Req.Kind != control.FaultSlowCPU { // shares are multiplied, which rounds
				reqs = append(reqs, st.Req)
			}
		}
		a := compile(faultsOf(reqs), shop(), false)
		b := compile(faultsOf(rapid.Permutation(reqs).Draw(t, "order")), shop(), false)
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("%+v\n%+v", a, b)
		}
		for id, tr := range a {
			if err := tr.Plan.Validate(); err != nil || tr.none() {
				t.Fatalf("%s: %+v: %v", id, tr, err)
			}
			seen := make(map[string]bool)
			for n, l := range tr.Plan.Dial {
				for _, to := range l.To {
					if seen[to] || to == "*" && n != len(tr.Plan.Dial)-1 {
						t.Fatalf("%s: a rule that never counts: %+v", id, tr.Plan.Dial)
					}
					seen[to] = true
				}
			}
		}
	})
}

// Any number of faults stays within what a plan may have.
func TestCompileBounds(t *testing.T) {
	var reqs []control.FaultRequest
	for range control.MaxFaults {
		r := netFault("orders-1", "*", control.Shape{Delay: 10 * time.Minute, Jitter: 10 * time.Minute, Rate: 1})
		reqs = append(reqs, r, control.FaultRequest{Kind: control.FaultMemory, Targets: []string{"orders-1"}, Bytes: 64 << 30},
			control.FaultRequest{Kind: control.FaultCalls, Targets: []string{"orders-1"}, Calls: slices.Repeat([]control.Calls{{Share: 1, Delay: 1}}, 64)})
	}
	plan := compile(faultsOf(reqs), shop(), false)["orders-1"].Plan
	if err := plan.Validate(); err != nil {
		t.Error(err)
	}
	if plan.Accept.Delay != fault.MaxDelay || len(plan.Calls) != fault.MaxRules {
		t.Errorf("%+v, %d calls", plan.Accept, len(plan.Calls))
	}
}

// A reset that begins while another is in force changes the plan: open connections are reset again.
func TestCompileResets(t *testing.T) {
	faults := faultsOf([]control.FaultRequest{
		netFault("orders-1", "orders-2", control.Shape{Reset: true}), netFault("orders-1", "orders-2", control.Shape{Reset: true}),
	})
	faults[0].Begun = time.Unix(100, 0)
	faults[1].Begun = time.Unix(101, 0)
	serial := func(faults ...control.Fault) uint64 {
		return compile(faults, shop(), false)["orders-1"].Plan.Dial[0].Serial
	}
	one, two, other := serial(faults[0]), serial(faults...), serial(faults[1])
	if one == 0 || two <= one || other != two {
		t.Errorf("serials %d, %d, %d", one, two, other)
	}
}
