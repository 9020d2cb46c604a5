package console_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

// fake is a system that does not exist: it answers as the control API does, from a seed, so that the page has the same to show
// each time. Its clock is moved by step alone.
type fake struct {
	every time.Duration // of its own time, between two documents of a stream
	pace  time.Duration // of ours, between the same
	down  bool          // answers nothing
	noise bool          // something happens all the time
	slow  time.Duration // of ours, that a list of traces takes
	lost  float64       // share of the calls from outside that fail at the edge, and reach no instance

	mu       sync.Mutex
	random   *rand.Rand
	now      time.Time
	begun    time.Time
	services []control.Service
	edges    []control.Edge
	all      []*control.LiveInstance
	queues   []control.Queue
	letters  []control.DeadLetter
	locks    []control.Lock
	faults   []control.Fault
	events   []control.Event
	traces   []control.Trace
	changes  []string      // what was asked for: "kill orders-2"
	hold     chan struct{} // until it is closed, nothing that is asked for is done
	refused  string        // a position of a letter that is not settled now
	next     chan struct{}
	steps    int
}

// newFake makes a system of the services that are given as "name:instances", and its calls as "from>to" or "from~topic>to".
func newFake(seed uint64, services, calls []string) *fake {
	f := &fake{every: time.Second, pace: time.Second, random: rand.New(rand.NewPCG(seed, 7)), now: time.Date(2026, 3, 4, 3, 7, 12, 0, time.UTC), next: make(chan struct{})} //nolint:gosec // the same each time, on purpose
	f.begun = f.now.Add(-3*time.Hour - 12*time.Minute)
	f.add("control", 3)
	for _, s := range services {
		var n int
		name, count, _ := strings.Cut(s, ":")
		_, _ = fmt.Sscan(count, &n)
		f.services = append(f.services, control.Service{Name: name, Replicas: n, Ready: n, Replicated: n == 3})
		f.add(name, n)
	}
	f.services[0].HTTP = "127.0.0.1:8080"
	f.services[1].Autoscale = &control.Autoscale{Min: 2, Max: 12, Wish: 3, Why: "in-flight 45 per instance, target 20"}
	for i, c := range calls {
		from, to, _ := strings.Cut(c, ">")
		from, topic, message := strings.Cut(from, "~")
		e := control.Edge{From: from, To: to, Kind: control.EdgeCall, Rate: 1000 / float64(i+3), P50: time.Duration(3+i) * time.Millisecond}
		if message {
			e.Kind, e.Topic, e.Rate = control.EdgeMessage, topic, 40/float64(i+1)
		}
		f.edges = append(f.edges, e)
	}
	for i, e := range f.edges {
		if e.Kind == control.EdgeMessage {
			f.queues = append(f.queues, control.Queue{Topic: e.Topic, Group: e.To, Lag: int64(i % 5), Unsettled: int64(i % 3), Subscribers: []string{e.To + "-1", e.To + "-2"}})
		}
	}
	f.locks = []control.Lock{
		{Name: "nightly-report", Holder: f.services[0].Name + "-1", Token: 17, Since: f.now.Add(-40 * time.Minute), Election: true},
		{Name: "stock/import", Token: 402, Since: f.now.Add(-12 * time.Second), Waiting: 2},
	}
	f.happen("", "", "ready", "every service is ready")
	f.sample()
	f.step()
	return f
}

// shop is about as large as the example, big is what the page has to stand.
func shop() *fake {
	return newFake(1, []string{"gateway:2", "catalog:2", "cart:3", "inventory:3", "orders:3", "payment:3", "shipping:3", "analytics:3", "notifications:2"},
		[]string{"edge>gateway", "gateway>catalog", "gateway>cart", "gateway>orders", "orders>inventory", "orders>payment", "payment~payments.settled>orders", "orders~orders.paid>shipping", "orders~orders.paid>notifications", "orders~orders.placed>analytics"})
}

func big() *fake {
	var services []string
	names := []string{"gateway", "search", "catalog", "cart", "orders", "payment", "inventory", "pricing", "users", "sessions", "shipping", "tax", "fraud", "ledger", "reviews", "media", "notifications", "analytics", "recommend", "audit"}
	for _, n := range names {
		services = append(services, n+":10")
	}
	calls := strings.Fields(`edge>gateway gateway>search gateway>catalog gateway>cart gateway>orders gateway>users gateway>sessions gateway>recommend search>catalog catalog>pricing
		catalog>reviews catalog>media cart>pricing cart>inventory orders>inventory orders>payment orders>tax orders>users payment>fraud payment>ledger users>sessions recommend>catalog recommend>users
		shipping>inventory payment~payments.settled>orders orders~orders.paid>shipping orders~orders.paid>notifications orders~orders.placed>analytics ledger~entries>audit users~users.changed>audit`)
	return newFake(2, services, calls)
}

func (f *fake) add(service string, n int) {
	for i := range n {
		id := fmt.Sprintf("%s-%d", service, i+1)
		in := &control.LiveInstance{Instance: control.Instance{Service: service, ID: id, PID: 4000 + len(f.all), State: "ready", Since: f.begun.Add(time.Duration(i) * time.Second), Addr: fmt.Sprintf("127.0.0.1:%d", 20000+len(f.all))}}
		in.Addrs = map[string]string{"grpc": in.Addr}
		in.RSS, in.Heap, in.Goroutines = int64(38+i)<<20, int64(9+i)<<20, 80+10*i
		if i == 0 && n == 3 {
			in.Role = "leader of " + service
		}
		f.all = append(f.all, in)
	}
}

func (f *fake) get(id string) *control.LiveInstance {
	i := slices.IndexFunc(f.all, func(i *control.LiveInstance) bool { return i.ID == id })
	if i < 0 {
		return nil
	}
	return f.all[i]
}

func (f *fake) happen(service, instance, state, message string) {
	f.events = append(f.events, control.Event{Time: f.now, Service: service, Instance: instance, State: state, Message: message})
	f.events = f.events[max(0, len(f.events)-1000):]
}

// turn puts an instance into a state, as f.mu is held.
func (f *fake) turn(in *control.LiveInstance, state, why string) {
	in.State, in.Since = state, f.now
	switch state {
	case "backoff":
		in.PID, in.Reason, in.Restarts, in.Stats, in.Rates = 0, why, in.Restarts+1, nil, nil
	case "ready":
		if in.PID == 0 {
			in.PID = 9000 + f.steps
		}
	}
	text := in.ID + " is " + state
	if why != "" {
		text += ": " + why
	}
	f.happen(in.Service, in.ID, state, text)
	f.wake()
}

func (f *fake) wake() {
	close(f.next)
	f.next = make(chan struct{})
}

// trouble breaks some of everything.
func (f *fake) trouble() {
	f.mu.Lock()
	defer f.mu.Unlock()
	bad := f.services[4].Name
	f.now = f.now.Add(41 * time.Second)
	f.turn(f.get(bad+"-2"), "backoff", "signal: killed")
	f.now = f.now.Add(3 * time.Second)
	in := f.get(f.services[5].Name + "-1")
	in.Ejected = []string{"by " + f.services[0].Name + "-1: 5 of 5 calls failed: UNAVAILABLE", "by " + bad + "-1: 5 of 5 calls failed"}
	f.happen(in.Service, in.ID, control.EventEjected, in.ID+" is ejected by "+bad+"-1: 5 of 5 calls failed")
	f.happen(f.services[3].Name, f.services[3].Name+"-2", control.EventElected, f.services[3].Name+"-2 leads "+f.services[3].Name+", term 5")
	f.now = f.now.Add(9 * time.Second)
	f.turn(f.get(f.services[1].Name+"-2"), "frozen", "")
	f.turn(f.get(f.services[7].Name+"-1"), "draining", "")
	f.turn(f.get(f.services[6].Name+"-2"), "starting", "")
	f.faults = []control.Fault{{ID: "f1", What: f.services[1].Name + "-2 is frozen", Begun: f.now, Until: f.now.Add(20 * time.Second), FaultRequest: control.FaultRequest{Kind: control.FaultFreeze, Note: "drill leaders-die"}}}
	f.happen(f.services[1].Name, f.services[1].Name+"-2", control.EventFaultBegun, "fault f1 begins: "+f.services[1].Name+"-2 is frozen")
	for i := range f.edges {
		if f.edges[i].To == f.services[5].Name {
			f.edges[i].Errors = 0.07 * f.edges[i].Rate
			f.edges[i].Retries = 0.2 * f.edges[i].Rate
		}
	}
	if len(f.queues) > 1 {
		f.queues[1].Lag, f.queues[1].Waiting, f.queues[1].Oldest, f.queues[1].Rate = 1834, 1800, 74*time.Second, 21.4
		f.queues[1].Slowed = []string{f.queues[1].Group + "-2"}
		f.queues[0].Dead = 3
		for i := range 3 {
			f.letters = append(f.letters, control.DeadLetter{
				Position: fmt.Sprintf("%d", 41+i), Buried: f.now.Add(-time.Duration(i) * time.Minute), Reason: "poison", Attempts: 5, Instance: f.queues[0].Group + "-2",
				FirstError: "INVALID_ARGUMENT: amount is negative", LastError: "INVALID_ARGUMENT: amount is negative", ID: fmt.Sprintf("01J%dX9Q", i), Type: "payments.settled", Key: fmt.Sprintf("order-%d", 7719+i), Source: "payment",
				ContentType: "application/json", Data: `{"order":"7719","amount":-12.5,"note":"<img src=x onerror=alert(1)>"}`, Encoding: "text", Size: 71, Trace: fmt.Sprintf("%032x", 0xabc0+i), Time: f.now.Add(-time.Hour),
			})
		}
	}
}

// step lets a second pass.
func (f *fake) step() {
	f.now = f.now.Add(f.every)
	f.steps++
	for i := range f.edges {
		e := &f.edges[i]
		was := e.Rate
		e.Rate *= 0.97 + 0.06*f.random.Float64()
		e.Errors *= e.Rate / was
		e.P50 = time.Duration(float64(e.P50) * (0.98 + 0.04*f.random.Float64()))
		e.P99 = e.P50 * 4
	}
	if f.noise {
		in := f.all[f.random.IntN(len(f.all))]
		in.State = []string{"ready", "frozen", "draining", "starting"}[f.random.IntN(4)]
		f.happen(in.Service, in.ID, in.State, in.ID+" is "+in.State)
		in = f.all[f.random.IntN(len(f.all))]
		in.Ejected = [][]string{nil, {"by gateway-1: 5 of 5 calls failed"}}[f.random.IntN(2)]
		f.happen(in.Service, in.ID, control.EventEjected, fmt.Sprintf("%s is ejected, %d", in.ID, f.steps))
	}
	for _, in := range f.all {
		if in.PID == 0 {
			continue
		}
		rate := 20 + 30*f.random.Float64()
		if in.Service == control.ControlService {
			continue
		}
		in.Rates = &control.InstanceRates{Rate: rate, P50: 3 * time.Millisecond, P99: time.Duration(9+f.random.IntN(6)) * time.Millisecond}
		if len(in.Ejected) > 0 {
			in.Rates.Errors = rate / 3
		}
		served := uint64(rate * float64(f.steps)) //nolint:gosec // not negative
		in.Stats = &control.InstanceStats{At: f.now, PID: in.PID, InFlight: f.random.IntN(8), Limit: 64, Served: served, Calls: served * 2, Attempts: served*2 + served/50, CPU: time.Duration(f.steps) * 20 * time.Millisecond}
	}
}

func (f *fake) live() control.Live {
	live := control.Live{At: f.now, Queues: slices.Clone(f.queues), Locks: f.locks, Faults: f.faults, Groups: []control.Group{}}
	live.Info = control.Info{System: "shop", State: control.Ready, Since: f.begun, PID: 4711, Version: "v0.7.0", Services: slices.Clone(f.services)}
	live.Graph = control.Graph{At: f.now, Window: 10 * time.Second, Edges: f.edges}
	for i := range live.Info.Services {
		s := &live.Info.Services[i]
		s.Ready = 0
		n := control.Node{Service: s.Name, P50: 4 * time.Millisecond, P99: 18 * time.Millisecond, Instances: s.Replicas}
		for _, e := range f.edges {
			if e.To == s.Name {
				n.Rate, n.Errors, n.P99 = n.Rate+e.Rate, n.Errors+e.Errors, max(n.P99, e.P99)
			}
		}
		live.Graph.Nodes = append(live.Graph.Nodes, n)
		g := control.Group{Service: s.Name, Name: s.Name, Term: 4}
		for _, in := range f.all {
			if in.Service != s.Name {
				continue
			}
			if in.State == "ready" {
				s.Ready++
			}
			m := control.GroupMember{Instance: in.ID, Role: "follower", Applied: 48210}
			switch {
			case in.State == "backoff" || in.State == "frozen":
				m.Role, g.Trouble = "away", "1 of 3 members is away"
			case in.Role != "":
				m.Role, g.Leader = "leader", in.ID
			}
			g.Members = append(g.Members, m)
		}
		if s.Replicated {
			live.Groups = append(live.Groups, g)
		}
	}
	for _, in := range f.all {
		live.Instances = append(live.Instances, *in)
	}
	rates := control.InstanceRates{Rate: f.edges[0].Rate, Errors: max(f.edges[0].Errors, f.lost*f.edges[0].Rate), P50: f.edges[0].P50, P99: f.edges[0].P99}
	live.Edge.Rates = &rates
	live.Graph.Nodes = append(live.Graph.Nodes, control.Node{Service: control.EdgeEnd, Rate: rates.Rate, Errors: rates.Errors, P50: rates.P50, P99: rates.P99, Instances: 1})
	return live
}
