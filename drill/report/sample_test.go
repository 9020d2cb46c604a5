package report_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/holdfast-go/holdfast/drill/check"
	"github.com/holdfast-go/holdfast/drill/load"
	"github.com/holdfast-go/holdfast/drill/report"
)

const ms = time.Millisecond

// sample is a drill of a shop in which nobody noticed anything.
func sample() *report.Report {
	r := &report.Report{
		System: "shop", Drill: "leaders-die", About: "The leaders of what the shop keeps among its instances die, one is frozen, one is cut off.",
		Seed: 42, Command: "holdfast drill examples/shop leaders-die --seed 42",
		Began: time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC), Length: 40 * time.Second,
		Version: "v0.6.0", Machine: "linux/amd64, 2 processors, go1.26.8", HeldUp: 12 * ms,
		Faults: []report.Fault{
			{Kind: "kill", What: "kill -9 orders-2", Target: []string{"orders-2"}, Begun: 5 * time.Second},
			{Kind: "freeze", What: "freeze inventory-2", Target: []string{"inventory-2"}, Begun: 10 * time.Second, Ended: 18 * time.Second},
			{Kind: "partition", What: "cut payment-1 off from payment-2, payment-3", Target: []string{"payment-1"}, Begun: 20 * time.Second, Ended: 25 * time.Second},
			{Kind: "registry", What: "registry down: freeze control-1, control-2, control-3", Target: []string{"control-1", "control-2", "control-3"}, Begun: 22 * time.Second, Ended: 30 * time.Second},
			{Kind: "latency", What: "20 ms ± 10 ms between gateway and everybody else", Target: []string{"gateway-1", "gateway-2"}, Begun: 28 * time.Second, Ended: 33 * time.Second},
			{Kind: "kill", What: "kill -9 cart-1", Target: []string{"cart-1"}, Begun: 34 * time.Second},
		},
		Expectations: []report.Expectation{
			{Name: "success", Goal: "at least 99.99 %", Value: "100 %", Kept: true},
			{Name: "p99", Goal: "at most 500 ms", Value: "118 ms", Kept: true},
			{Name: "p99.9", Goal: "at most 1 s", Value: "441 ms", Kept: true},
			{Name: "mask", Goal: "at most 1 s", Value: "0 s", Kept: true},
			{Name: "recover", Goal: "at most 5 s", Value: "1.5 s", Kept: true},
			{Name: "amplification", Goal: "at most 1.2", Value: "1.03", Kept: true},
		},
		Invariants: []check.Verdict{
			{Name: "carts are linearizable", Answer: check.Holds, Says: "1,204 operations of 3 clients on 5 keys have an order that explains every answer"},
			{Name: "no acknowledged order is missing", Answer: check.Holds, Says: "402 of 402 checkouts that were acknowledged are there"},
			{Name: "audit", Answer: check.Holds, Says: "go run ./audit: stock, orders and payments agree"},
		},
		LeftOut: []string{"errors of one instance of catalog: 2 replicas, and one of them is the minority that may be hit"},
	}
	fill(r, 250*ms, shopInstances())
	return r
}

func shopInstances() []string {
	var out []string
	for _, s := range []struct {
		name string
		n    int
	}{{"control", 3}, {"gateway", 2}, {"catalog", 2}, {"cart", 3}, {"inventory", 3}, {"orders", 3}, {"payment", 3}, {"shipping", 3}, {"analytics", 3}, {"notifications", 2}} {
		for i := range s.n {
			out = append(out, fmt.Sprintf("%s-%d", s.name, i+1))
		}
	}
	return out
}

// fill makes a timeline, lanes and figures that go with the faults.
func fill(r *report.Report, step time.Duration, instances []string) {
	rnd := rand.New(rand.NewPCG(r.Seed, 1))
	r.Timeline, r.Instances = nil, nil
	slow := func(at time.Duration) float64 {
		f := 1.0
		for _, x := range r.Faults {
			if end := max(x.Ended, x.Begun+800*ms); at >= x.Begun-step && at < end {
				f *= 1 + 14*rnd.Float64()*rnd.Float64()
			}
		}
		return f
	}
	for at := time.Duration(0); at < r.Length; at += step {
		f := min(slow(at), 160)
		n := int(100*step.Seconds()) + rnd.IntN(9) - 4
		r.Timeline = append(r.Timeline, report.Slice{
			From: at, OK: max(0, n-rnd.IntN(2)), Refused: rnd.IntN(40) / 39,
			P50: time.Duration((3 + rnd.Float64()) * (1 + (f-1)/12) * float64(ms)).Round(10 * time.Microsecond),
			P99: time.Duration((14 + 8*rnd.Float64()) * f * float64(ms)).Round(100 * time.Microsecond),
		})
	}
	for _, id := range instances {
		lane := report.Instance{ID: id, Phases: []report.Phase{{State: "ready", PID: 4000 + rnd.IntN(1000)}}}
		for _, f := range r.Faults {
			for _, t := range f.Target {
				if t != id {
					continue
				}
				switch f.Kind {
				case "kill":
					lane.Phases = append(
						lane.Phases, report.Phase{From: f.Begun, State: "backoff"},
						report.Phase{From: f.Begun + 300*ms, State: "starting", PID: 5100},
						report.Phase{From: f.Begun + 1400*ms, State: "ready", PID: 5100},
					)
				case "freeze", "registry":
					lane.Phases = append(lane.Phases, report.Phase{From: f.Begun, State: "frozen", PID: 4400}, report.Phase{From: f.Ended, State: "ready", PID: 4400})
				}
			}
		}
		r.Instances = append(r.Instances, lane)
	}
	r.Figures = report.Figures{
		P50: 3600 * time.Microsecond, P99: 118 * ms, P999: 441 * ms, Slowest: 702 * ms,
		CalmP50: 3400 * time.Microsecond, CalmP99: 20 * ms, Recover: 1500 * ms, Amplification: 1.03,
	}
	for _, s := range r.Timeline {
		r.Figures.OK += s.OK
		r.Figures.Refused += s.Refused
	}
	sum(r)
	browse, checkout, stock := r.Figures, r.Figures, r.Figures
	browse.Calls, browse.OK, browse.Refused = r.Figures.OK*8/10, r.Figures.OK*8/10, 0
	checkout.OK = r.Figures.OK / 10
	checkout.Calls, checkout.P50, checkout.P99 = checkout.OK+checkout.Refused, 16*ms, 380*ms
	stock.OK, stock.Refused = r.Figures.OK-browse.OK-checkout.OK, 0
	stock.Calls, stock.P50, stock.P99 = stock.OK, 2100*time.Microsecond, 91*ms
	r.Calls = []report.Call{{Name: "browse", Figures: browse}, {Name: "checkout", Figures: checkout}, {Name: "stock", Figures: stock}}
}

func sum(r *report.Report) {
	f := &r.Figures
	f.Calls = f.OK + f.Failed + f.Refused
	f.Success = float64(f.OK) / float64(f.OK+f.Failed)
}

// badSample is the same drill of a shop with bugs.
func badSample() *report.Report {
	r := sample()
	r.Failed = nil
	fail := func(at time.Duration, call, status, text, explain, instance string, during ...string) {
		i := len(r.Failed)
		r.Failed = append(r.Failed, report.Failure{
			Sample: load.Sample{
				Call: call, Due: at, Took: time.Duration(3+i*37%900) * ms, Outcome: load.Failed, Status: status, Error: text,
				Attempts: 1 + i%3, Instance: instance, Vars: map[string]string{"customer": fmt.Sprintf("c-%d", 17*i%500)},
			}, During: during, Explain: explain,
		})
		for s := range r.Timeline {
			if t := &r.Timeline[s]; at >= t.From && at < t.From+250*ms {
				t.OK, t.Failed = max(0, t.OK-1), t.Failed+1
			}
		}
	}
	for i := range 31 {
		fail(5*time.Second+time.Duration(i*29)*ms, "checkout", "503", `{"title":"unavailable","detail":"orders-2: connection refused; not repeated: the method is not declared safe"}`,
			"orders-2 was killed while it handled the call; nobody knows whether it was done, and the call had no key with which to repeat it", "gateway-1", "kill -9 orders-2")
	}
	for i := range 9 {
		fail(20400*ms+time.Duration(i*211)*ms, "stock", "DEADLINE_EXCEEDED", "inventory: deadline exceeded after 1 s: 1 attempt: inventory-2: no answer",
			"the whole deadline went to one attempt at an instance that did not answer", "", "freeze inventory-2", "cut payment-1 off from payment-2, payment-3")
	}
	fail(34100*ms, "browse", "", `Get "http://127.0.0.1:8080/api/products": EOF <script>alert(1)</script>`, "", "", "kill -9 cart-1")
	r.Figures.OK -= len(r.Failed)
	r.Figures.Failed = len(r.Failed)
	r.Figures.Mask, r.Figures.Recover, r.Figures.P999, r.Figures.Slowest = 2300*ms, 6100*ms, 2*time.Second, 5*time.Second
	sum(r)
	r.Faults[0].Failed, r.Faults[0].Mask = 31, 900*ms
	r.Faults[1].Failed, r.Faults[1].Mask = 9, 2300*ms
	r.Faults[5].Failed, r.Faults[5].Mask = 1, 100*ms
	for i, c := range r.Calls {
		for _, f := range r.Failed {
			if f.Call == c.Name {
				r.Calls[i].OK--
				r.Calls[i].Failed++
			}
		}
		r.Calls[i].Success = float64(r.Calls[i].OK) / float64(r.Calls[i].OK+r.Calls[i].Failed)
	}
	r.Expectations[0].Value, r.Expectations[0].Kept = "98.948 %", false
	r.Expectations[3].Value, r.Expectations[3].Kept = "2.3 s", false
	r.Expectations[4].Value, r.Expectations[4].Kept = "6.1 s", false
	r.Expectations[5].Value, r.Expectations[5].Unknown = "", "the answers do not say how many attempts they took"
	r.Invariants[0] = check.Verdict{
		Name: "carts are linearizable", Answer: check.Broken, Says: "no order explains what 3 clients read and wrote of cart/2", At: 21 * time.Second,
		Findings: []string{"cart/2: 11 operations between 20.9 s and 21.4 s"},
		History: []check.Operation{
			{Client: 1, Key: "cart/2", Write: true, Value: "6", Begun: 20902 * ms, Ended: 20911 * ms},
			{Client: 2, Key: "cart/2", Value: "6", Begun: 20915 * ms, Ended: 20918 * ms},
			{Client: 1, Key: "cart/2", Write: true, Value: "7", Begun: 20930 * ms, Ended: 21002 * ms},
			{Client: 3, Key: "cart/2", Write: true, Value: "8", Begun: 20990 * ms},
			{Client: 2, Key: "cart/2", Value: "7", Begun: 21010 * ms, Ended: 21014 * ms},
			{Client: 1, Key: "cart/2", Value: "6", Begun: 21031 * ms, Ended: 21033 * ms},
		},
	}
	r.Invariants[1] = check.Verdict{
		Name: "no acknowledged order is missing", Answer: check.Broken, Says: "2 of 402 checkouts that were acknowledged are not there",
		Findings: []string{"o-7f3a (acknowledged at 5.1 s): 404", "o-81c2 (acknowledged at 5.2 s): 404"}, At: 5100 * ms,
	}
	r.Invariants[2] = check.Verdict{Name: "audit", Answer: check.Unknown, Says: "go run ./audit: exit status 2: payments are not settled yet"}
	r.Advice = []string{
		"orders: give checkout an Idempotency-Key, or declare it idempotent: 31 calls failed because nobody could know whether to repeat them",
		"inventory: calls from gateway use the whole deadline for one attempt; leave the time for a second one (policy: calls.attempt_timeout)",
		"cart: reads are answered by an instance that does not know whether it still leads; read with replica.Linearizable",
	}
	return r
}

// notRun is a drill that could not be run.
func notRun() *report.Report {
	r := sample()
	return &report.Report{
		System: r.System, Drill: r.Drill, About: r.About, Seed: r.Seed, Command: r.Command, Began: r.Began, Length: 3 * time.Second, Version: r.Version, Machine: r.Machine,
		CouldNot: "partition payment-1: the instance does not follow the platform's faults (it is no Holdfast service): run it with --netns",
		Faults:   []report.Fault{{Kind: "partition", What: "cut payment-1 off", Begun: 3 * time.Second, Error: "not Holdfast's: --netns"}},
	}
}

// long is 30 minutes of random faults over 60 instances.
func long() *report.Report {
	r := sample()
	r.Drill, r.About, r.Command = "random", "", "holdfast drill examples/shop --random --seed 7 --for 30m"
	r.Seed, r.Length, r.Faults, r.LeftOut = 7, 30*time.Minute, nil, nil
	r.Host = &report.Host{Share: 0.083, Most: 0.626, Spans: []report.Span{{From: 5 * time.Minute, To: 6 * time.Minute}}}
	var ids []string
	for i := range 60 {
		ids = append(ids, fmt.Sprintf("%s-%d", [...]string{"gateway", "recommendations", "orders", "inventory", "payment", "cart"}[i/10], i%10+1))
	}
	rnd := rand.New(rand.NewPCG(7, 7))
	kinds := []string{"kill", "freeze", "partition", "latency", "slow-cpu", "restart", "errors", "disk"}
	for at := 5 * time.Second; at < r.Length-10*time.Second; at += time.Duration(1500+rnd.IntN(3000)) * ms {
		f := report.Fault{Kind: kinds[rnd.IntN(len(kinds))], Target: []string{ids[rnd.IntN(len(ids))]}, Begun: at}
		f.What = f.Kind + " " + f.Target[0]
		if f.Kind != "kill" {
			f.Ended = at + time.Duration(2+rnd.IntN(8))*time.Second
		}
		r.Faults = append(r.Faults, f)
	}
	fill(r, time.Second, ids)
	return r
}
