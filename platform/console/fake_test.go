package console_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/console"
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

// server answers for the page.
func (f *fake) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", console.Handler())
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /v1/session", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, control.Session{Right: control.Operate, Key: "k"})
	})
	mux.HandleFunc("GET /v1/system", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		answer(w, f.live().Info)
	})
	mux.HandleFunc("GET /v1/live", f.stream)
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, e := range f.events {
			_ = json.NewEncoder(w).Encode(e)
		}
	})
	mux.HandleFunc("GET /v1/logs", f.logs)
	mux.HandleFunc("GET /v1/traces", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			return
		case <-time.After(f.slow):
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		list := []control.TraceSummary{}
		for _, t := range f.traces {
			q := r.URL.Query()
			if s := q.Get("status"); (s == "" || s == t.Status) && strings.Contains(t.Root+t.Error+t.ID, q.Get("text")) && (q.Get("service") == "" || slices.Contains(t.Services, q.Get("service"))) {
				list = append(list, t.TraceSummary)
			}
		}
		answer(w, map[string]any{"traces": list})
	})
	mux.HandleFunc("GET /v1/traces/{id}", func(w http.ResponseWriter, r *http.Request) {
		for _, t := range f.traces {
			if t.ID == r.PathValue("id") {
				answer(w, t)
				return
			}
		}
		failure.WriteProblem(w, failure.New(failure.NotFound, "no trace begins with %s", r.PathValue("id")))
	})
	mux.HandleFunc("GET /v1/explain/{id}", func(w http.ResponseWriter, r *http.Request) { answer(w, f.explain(r.PathValue("id"))) })
	mux.HandleFunc("GET /v1/policies", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{"policies": f.policies()}) })
	mux.HandleFunc("GET /v1/queues/{topic}/{group}/dead", func(w http.ResponseWriter, r *http.Request) {
		var after, limit, next int
		_, _ = fmt.Sscan(r.URL.Query().Get("after"), &after)
		_, _ = fmt.Sscan(r.URL.Query().Get("limit"), &limit)
		f.mu.Lock()
		defer f.mu.Unlock()
		page := []control.DeadLetter{}
		for _, l := range f.letters {
			var at int
			_, _ = fmt.Sscan(l.Position, &at)
			if at > after && len(page) < limit {
				page, next = append(page, l), at
			}
		}
		body := map[string]any{"letters": page}
		if len(page) == limit {
			body["next"] = fmt.Sprint(next)
		}
		if limit < 1 || limit > control.MaxDead {
			failure.WriteProblem(w, failure.New(failure.InvalidArgument, "limit must be from 1 to %d", control.MaxDead))
			return
		}
		answer(w, body)
	})
	mux.HandleFunc("POST /v1/queues/{topic}/{group}/{what}", f.settle)
	mux.HandleFunc("POST /v1/{what}", f.act)
	mux.HandleFunc("DELETE /v1/faults/{id}", func(w http.ResponseWriter, _ *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.faults = nil
		f.wake()
		answer(w, struct{}{})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		down := f.down
		f.mu.Unlock()
		if down {
			panic(http.ErrAbortHandler)
		}
		mux.ServeHTTP(w, r)
	})
}

func (f *fake) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(f.pace)
	defer tick.Stop()
	f.mu.Lock()
	told := len(f.events)
	f.mu.Unlock()
	for {
		f.mu.Lock()
		var out strings.Builder
		for ; told < len(f.events); told++ {
			data, _ := json.Marshal(f.events[told])
			fmt.Fprintf(&out, "event: event\ndata: %s\n\n", data)
		}
		data, _ := json.Marshal(f.live())
		next := f.next
		f.mu.Unlock()
		fmt.Fprintf(&out, "event: live\ndata: %s\n\n", data)
		if _, err := w.Write([]byte(out.String())); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-next:
		case <-tick.C:
			f.mu.Lock()
			f.step()
			f.mu.Unlock()
		}
	}
}

func (f *fake) logs(w http.ResponseWriter, r *http.Request) {
	enc := json.NewEncoder(w)
	f.mu.Lock()
	for i := range 300 {
		in := f.all[3+i%(len(f.all)-3)]
		l := control.LogLine{Time: f.now.Add(time.Duration(i-300) * 170 * time.Millisecond), Service: in.Service, Instance: in.ID, Text: fmt.Sprintf(`level=INFO msg="order placed" order=%d took=%dms`, 7000+i, 3+i%9)}
		switch i % 17 {
		case 5:
			l.Text = `level=WARN msg="the payment is tried again" attempt=2 instance=payment-1 error="UNAVAILABLE: connection refused"`
			l.Trace = f.traces[0].ID
		case 11:
			l.Text = `level=ERROR msg="could not reserve" order=7719 error="<script>alert(1)</script> DEADLINE_EXCEEDED"`
		}
		_ = enc.Encode(l)
	}
	f.mu.Unlock()
	_ = http.NewResponseController(w).Flush()
	if r.URL.Query().Get("follow") == "true" {
		<-r.Context().Done()
	}
}

// held waits while nothing is done, and reports whether somebody still wants it.
func (f *fake) held(r *http.Request) bool {
	f.mu.Lock()
	hold := f.hold
	f.mu.Unlock()
	if hold == nil {
		return true
	}
	select {
	case <-hold:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (f *fake) settle(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Positions []string `json:"positions"`
		All       bool     `json:"all"`
	}
	_ = json.NewDecoder(r.Body).Decode(&req)
	if !f.held(r) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case len(req.Positions) > control.MaxPositions:
		failure.WriteProblem(w, failure.New(failure.InvalidArgument, "%d positions are too many at once", len(req.Positions)))
		return
	case slices.Contains(req.Positions, f.refused):
		failure.WriteProblem(w, failure.New(failure.Unavailable, "the broker does not answer"))
		return
	}
	f.changes = append(f.changes, fmt.Sprint(r.PathValue("what"), " ", req.Positions, req.All))
	n := len(f.letters)
	f.letters = slices.DeleteFunc(f.letters, func(l control.DeadLetter) bool { return req.All || slices.Contains(req.Positions, l.Position) })
	f.queues[0].Dead = int64(len(f.letters))
	f.wake()
	_ = json.NewEncoder(w).Encode(map[string]int{"count": n - len(f.letters)})
}

func (f *fake) act(w http.ResponseWriter, r *http.Request) {
	var req struct {
		Target   string `json:"target"`
		Service  string `json:"service"`
		Replicas int    `json:"replicas"`
		Auto     bool   `json:"auto"`
	}
	_ = json.NewDecoder(r.Body).Decode(&req)
	if !f.held(r) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Header.Get(control.KeyHeader) != "k" {
		failure.WriteProblem(w, failure.New(failure.PermissionDenied, "you may look, not change"))
		return
	}
	f.changes = append(f.changes, fmt.Sprint(r.PathValue("what"), " ", req.Target, req.Service))
	in := f.get(req.Target)
	switch what := r.PathValue("what"); {
	case what == "scale":
		i := slices.IndexFunc(f.services, func(s control.Service) bool { return s.Name == req.Service })
		if f.services[i].Replicas = req.Replicas; req.Auto {
			f.services[i].Replicas = f.services[i].Autoscale.Wish
		}
		f.wake()
	case in == nil:
		failure.WriteProblem(w, failure.New(failure.NotFound, "there is no %s", req.Target))
		return
	case what == "kill":
		f.turn(in, "backoff", "signal: killed")
	case what == "freeze":
		f.turn(in, "frozen", "")
	case what == "thaw":
		f.turn(in, "ready", "")
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"instances": []string{req.Target}})
}

func (f *fake) policies() []control.PolicyInForce {
	var all []control.PolicyInForce
	for i, s := range f.services {
		p := control.PolicyInForce{Service: s.Name, Values: []control.PolicyValue{
			{Key: "calls.timeout", Value: "2s", Source: control.SourceDefault},
			{Key: "calls.attempts", Value: "3", Source: control.SourceDefault},
			{Key: "calls.hedge.after", Value: "p95", Source: control.SourceCode, Otherwise: "never"},
			{Key: "serves.in-flight", Value: "64", Source: control.SourceFile, Otherwise: "adaptive"},
		}}
		if i == 1 {
			p.Revision = 12
			p.Values[0] = control.PolicyValue{Key: "calls.timeout", Value: "800ms", Source: control.SourceLive, Otherwise: "2s"}
			p.Values = append(p.Values, control.PolicyValue{Key: "calls.methods./shop.v1.Catalog/Search.timeout", Value: "250ms", Source: control.SourceLive})
		}
		all = append(all, p)
	}
	return all
}
