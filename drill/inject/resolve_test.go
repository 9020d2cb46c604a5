package inject_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/drill/inject"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/system"
)

// world has a service of each size, and a control plane of three.
func world() inject.World {
	var w inject.World
	add := func(name string, n int) {
		s := inject.Service{Name: name}
		for i := range n {
			s.Instances = append(s.Instances, fmt.Sprintf("%s-%d", name, i+1))
		}
		w.Services = append(w.Services, s)
	}
	add("gateway", 2)
	add("orders", 3)
	add("cart", 5)
	add("mail", 1)
	add("gone", 0)
	add(control.ControlService, 3)
	return w
}

func draw(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func TestResolve(t *testing.T) {
	for _, tc := range []struct {
		fault   inject.Fault
		targets string
		links   string
		what    string
	}{
		{inject.Fault{Kind: inject.Kill, Target: []string{"orders-2"}}, "orders-2", "", "kill -9 orders-2"},
		{inject.Fault{Kind: inject.Kill, Target: []string{"mail"}}, "mail-1", "", "kill -9 mail-1"},
		{inject.Fault{Kind: inject.Freeze, Target: []string{"orders/all"}}, "orders-1 orders-2 orders-3", "", "freeze orders-1, orders-2, orders-3"},
		{inject.Fault{Kind: inject.Freeze, Target: []string{"orders-2", "orders/rest"}}, "orders-2 orders-1 orders-3", "", "freeze orders-2, orders-1, orders-3"},
		{inject.Fault{Kind: inject.Kill, Target: []string{"control/all"}}, "control-1 control-2 control-3", "", "kill -9 control-1, control-2, control-3"},
		{inject.Fault{Kind: inject.SlowCPU, Target: []string{"mail"}, Share: 0.125}, "mail-1", "", "slow mail-1 down to 12.5 % of the processor"},
		{inject.Fault{Kind: inject.Restart, Target: []string{"gateway/all"}}, "gateway-1 gateway-2", "", "restart gateway-1, gateway-2"},
		{inject.Fault{Kind: inject.Scale, Target: []string{"orders"}, Replicas: 5}, "orders", "", "scale orders to 5"},
		{inject.Fault{Kind: inject.Partition, From: []string{"mail"}}, "mail-1", "mail-1>*", "cut mail-1 off from everybody else"},
		{inject.Fault{Kind: inject.Partition, From: []string{"orders-1"}, To: []string{"orders/all", "edge"}, Way: "out"}, "orders-1", "orders-1>orders-2 orders-3 edge", "lose what orders-1 sends to orders-2, orders-3, the edge"},
		{inject.Fault{Kind: inject.Partition, From: []string{"orders-1"}, To: []string{"registry"}, Way: "in"}, "orders-1", "orders-1>registry", "lose what orders-1 gets from the registry"},
		{
			inject.Fault{Kind: inject.Partition, Between: [][]string{{"orders-1"}, {"orders/rest"}, {"mail"}}},
			"orders-1 orders-2 orders-3 mail-1",
			"orders-1>orders-2 orders-3; orders-1>mail-1; orders-2 orders-3>mail-1", "split orders-1 | orders-2, orders-3 | mail-1",
		},
		{inject.Fault{Kind: inject.Latency, From: []string{"mail"}, Delay: time.Second, Jitter: time.Second}, "mail-1", "mail-1>*", "1 s to 2 s of latency between mail-1 and everybody else"},
		{inject.Fault{Kind: inject.Bandwidth, From: []string{"mail"}, Rate: 1536}, "mail-1", "mail-1>*", "1.5 KiB a second between mail-1 and everybody else"},
		{inject.Fault{Kind: inject.Loss, From: []string{"mail"}, Share: 0.05}, "mail-1", "mail-1>*", "lose 5 % of the packets between mail-1 and everybody else"},
		{inject.Fault{Kind: inject.Reset, From: []string{"edge"}, To: []string{"mail"}}, "edge", "edge>mail-1", "reset the connections between the edge and mail-1"},
		{inject.Fault{Kind: inject.Errors, Target: []string{"mail"}}, "mail-1", "", "fail 100 % of the calls of mail-1 with UNAVAILABLE"},
		{inject.Fault{Kind: inject.Errors, Target: []string{"mail"}, Share: 0.5, Code: "none", Delay: time.Second, Methods: []string{"GET /x"}}, "mail-1", "", "hold up 50 % of the calls of mail-1 to GET /x by 1 s"},
		{inject.Fault{Kind: inject.Disk, Target: []string{"mail"}, Mode: "slow", Delay: time.Second}, "mail-1", "", "slow each sync of mail-1 by 1 s"},
		{inject.Fault{Kind: inject.Memory, Target: []string{"mail"}, Bytes: 256 << 20}, "mail-1", "", "take 256 MiB of memory in mail-1"},
		{inject.Fault{Kind: inject.Clock, Target: []string{"mail"}, Jump: time.Minute}, "mail-1", "", "turn the clock of mail-1 by +60 s"},
		{inject.Fault{Kind: inject.Registry, Mode: "down"}, "", "*>registry", "cut everybody off from the registry"},
		{inject.Fault{Kind: inject.Registry, Mode: "wiped"}, "control-1 control-2 control-3", "", "wipe the registry (control-1, control-2, control-3)"},
		{inject.Fault{Kind: inject.Broker, Mode: "slow", Delay: time.Second}, "", "*>queue", "1 s of latency to the broker"},
		{inject.Fault{Kind: inject.Command, Run: "echo  a\n b"}, "", "", "run echo a b"},
		{inject.Fault{Kind: inject.HTTP, Target: []string{"mail"}, Request: &inject.Request{Method: "PUT", Path: "/slow"}}, "mail-1", "", "PUT /slow at mail-1"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			r, err := inject.Resolve(tc.fault, world(), draw(1))
			if err != nil {
				t.Fatal(err)
			}
			var links []string
			for _, l := range r.Links {
				links = append(links, strings.Join(l.From, " ")+">"+strings.Join(l.To, " "))
			}
			if got := strings.Join(r.Targets, " "); got != tc.targets || strings.Join(links, "; ") != tc.links || r.What != tc.what {
				t.Errorf("targets %q, links %q, %q\nwant    %q, %q, %q", got, links, r.What, tc.targets, tc.links, tc.what)
			}
		})
	}
}

func TestWhoCannotBeHit(t *testing.T) {
	for _, tc := range []struct {
		fault inject.Fault
		code  failure.Code
		want  string
	}{
		{inject.Fault{Kind: inject.Kill, Target: []string{"oders"}}, failure.NotFound, `no instance "oders"; did you mean orders?`},
		{inject.Fault{Kind: inject.Kill, Target: []string{"orders-9"}}, failure.NotFound, `"orders-9"`},
		{inject.Fault{Kind: inject.Kill, Target: []string{"gone"}}, failure.FailedPrecondition, "gone has no instances"},
		{inject.Fault{Kind: inject.Kill, Target: []string{"mail", "mail"}}, failure.FailedPrecondition, "0 instances that are left"},
		{inject.Fault{Kind: inject.Kill, Target: []string{"mail-1", "mail-1"}}, failure.InvalidArgument, "named twice"},
		{inject.Fault{Kind: inject.Kill, Target: []string{"mail-1/all"}}, failure.InvalidArgument, "is an instance"},
		{inject.Fault{Kind: inject.Partition, From: []string{"oders"}}, failure.NotFound, "from: "},
		{inject.Fault{Kind: inject.Partition, From: []string{"orders"}, To: []string{"oders"}}, failure.NotFound, "to: "},
		{inject.Fault{Kind: inject.Partition, Between: [][]string{{"orders/all"}, {"orders/rest"}}}, failure.FailedPrecondition, "between: "},
		{inject.Fault{Kind: inject.Scale, Target: []string{"control"}, Replicas: 1}, failure.InvalidArgument, "not the control plane"},
		{inject.Fault{Kind: inject.Scale, Target: []string{"oders"}, Replicas: 1}, failure.NotFound, "did you mean orders?"},
	} {
		if _, err := inject.Resolve(tc.fault, world(), draw(1)); failure.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: error = %v, want %v %q", tc.fault.Target, err, tc.code, tc.want)
		}
	}
	alone := inject.World{Services: []inject.Service{{Name: "mail", Instances: []string{"mail-1"}}}}
	if _, err := inject.Resolve(inject.Fault{Kind: inject.Registry, Mode: "wiped"}, alone, draw(1)); failure.CodeOf(err) != failure.FailedPrecondition {
		t.Errorf("without a control plane: %v", err)
	}
}

// Whatever is drawn is of those who were meant, of the number that was meant, nobody twice, and the same for the same seed.
func TestWhatIsDrawn(t *testing.T) {
	w := world()
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		service := rapid.SampledFrom(w.Services[:4]).Draw(t, "service")
		group := rapid.SampledFrom([]string{"", "/all", "/minority", "/majority", "/rest"}).Draw(t, "group")
		n := len(service.Instances)
		want := map[string]int{"": 1, "/all": n, "/minority": max(1, (n-1)/2), "/majority": n/2 + 1, "/rest": n}[group]
		f := inject.Fault{Kind: inject.Kill, Target: []string{service.Name + group}}
		r, err := inject.Resolve(f, w, draw(seed))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Targets) != want || len(slices.Compact(slices.Sorted(slices.Values(r.Targets)))) != want {
			t.Fatalf("%s%s are %v, want %d", service.Name, group, r.Targets, want)
		}
		for _, id := range r.Targets {
			if !slices.Contains(service.Instances, id) {
				t.Fatalf("%s is not of %s", id, service.Name)
			}
		}
		again, _ := inject.Resolve(f, w, draw(seed))
		if !slices.Equal(again.Targets, r.Targets) {
			t.Fatalf("the same seed draws %v and %v", r.Targets, again.Targets)
		}
		// The rest is everybody else.
		split, err := inject.Resolve(inject.Fault{Kind: inject.Partition, Between: [][]string{{"cart/minority"}, {"cart/rest"}}}, w, draw(seed))
		if err != nil || len(split.Links) != 1 || len(split.Links[0].From) != 2 || len(split.Links[0].To) != 3 || len(split.Targets) != 5 {
			t.Fatalf("split = %+v, %v", split, err)
		}
	})
}

func TestWorldOf(t *testing.T) {
	w := inject.WorldOf(
		control.Info{Network: "10.0.0.0/16", Services: []control.Service{{Name: "web", HTTP: "127.0.0.1:80", Replicated: true}, {Name: "idle"}}},
		[]control.Instance{
			{Service: "web", ID: "web-10", State: "ready"},
			{Service: "web", ID: "web-9", State: "backoff"},
			{Service: "web", ID: "web-1", State: "draining"},
			{Service: "control", ID: "control-1", State: "ready"},
		})
	var got []string
	for _, s := range w.Services {
		got = append(got, fmt.Sprintf("%s %v %v %v", s.Name, s.Instances, s.Public, s.Replicated))
	}
	if text := strings.Join(got, "; "); text != "web [web-9 web-10] true true; idle [] false false; control [control-1] false false" || !w.Network {
		t.Error(text)
	}
}

func TestWorldOfFile(t *testing.T) {
	sys, err := system.Parse("system.yaml", []byte("system: s\nservices: {web: {run: ./web, replicas: 2, http: 127.0.0.1:80}, store: {run: ./store, replicas: 3, state: replicated}}"))
	if err != nil {
		t.Fatal(err)
	}
	w := inject.WorldOfFile(sys)
	if got := fmt.Sprintf("%v", w.Services); got != "[{web [web-1 web-2] true false false} {store [store-1 store-2 store-3] false true false} {control [control-1 control-2 control-3] false false false}]" {
		t.Error(got)
	}
}
