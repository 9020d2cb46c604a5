package resilience

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
)

// world is a chain of services, each of which calls the next, in virtual time: one call at a time from outside, and no
// process knows anything at the start.
type world struct {
	instances int
	frozen    func(level, instance int, at time.Time) bool
	processes map[[2]int]*process // by level and instance
	levels    int
	pauses    float64 // the share of requests that take 200 ms more on average
	single    bool    // no hedges
	rnd       *rand.Rand

	attempts, hedges int
}

// process is an instance's client of the next level.
type process struct {
	nodes   []*balance.Node
	view    *balance.View
	budget  *Budget
	guard   *Guard
	latency *Latency
}

func newWorld(seed uint64, levels, instances int, frozen func(level, instance int, at time.Time) bool) *world {
	return &world{
		instances: instances, levels: levels, frozen: frozen, processes: make(map[[2]int]*process),
		rnd: rand.New(rand.NewPCG(seed, 7)),
	}
}

func (w *world) process(level, instance int) *process {
	p := w.processes[[2]int{level, instance}]
	if p == nil {
		p = &process{budget: NewBudget(BudgetPolicy{}), guard: NewGuard(Policy{}), latency: new(Latency)}
		for range w.instances {
			p.nodes = append(p.nodes, balance.NewNode(""))
		}
		p.view = balance.New(balance.Config{}).View(time.Time{}, p.nodes)
		w.processes[[2]int{level, instance}] = p
	}
	return p
}

// serve is the handling of a request: a little work, and a call of the next level. It returns when and how it ends.
func (w *world) serve(level, instance int, now, deadline time.Time) (time.Time, failure.Code) {
	if w.frozen(level, instance, now) {
		return deadline, failure.DeadlineExceeded
	}
	now = now.Add(2 * time.Millisecond)
	if w.rnd.Float64() < w.pauses {
		now = now.Add(time.Duration(w.rnd.ExpFloat64() * float64(200*time.Millisecond)))
	}
	if level == w.levels {
		return now, failure.OK
	}
	return w.call(level, instance, now, deadline.Add(-margin(deadline.Sub(now))))
}

// try is an attempt that has been made: what happens at an instance is known when it begins.
type try struct {
	plan Plan
	node *balance.Node
	from time.Time
	end  time.Time
	code failure.Code
}

func (w *world) try(p *process, level int, plan Plan, now time.Time, tried []*balance.Node) try {
	i := p.view.Pick(balance.Call{Now: now, Rand: w.rnd.Uint64(), Tried: tried})
	t := try{plan: plan, node: p.nodes[i], from: now}
	t.node.Start()
	if t.end, t.code = w.serve(level+1, i, now, plan.Deadline); t.end.After(plan.Deadline) {
		t.end, t.code = plan.Deadline, failure.DeadlineExceeded
	}
	w.attempts++
	return t
}

// call is the call that a process of one level makes of the next.
func (w *world) call(level, instance int, now, deadline time.Time) (time.Time, failure.Code) {
	p := w.process(level, instance)
	c := Begin(Spec{Budget: p.budget, Guard: p.guard, Latency: p.latency, Deadline: deadline, Safe: true, Single: w.single})
	defer func() { c.End(now) }()
	var tried []*balance.Node
	code := failure.DeadlineExceeded
	for {
		plan, stop := c.Next(now, w.rnd.Uint64())
		if stop != StopDone {
			return now, code
		}
		tries := []try{w.try(p, level, plan, now, tried)}
		tried = append(tried, tries[0].node)
		if first := tries[0]; !plan.Hedge.IsZero() && first.end.After(plan.Hedge) {
			if hedge, ok := c.Hedge(plan.Hedge, w.rnd.Uint64()); ok {
				w.hedges++
				second := w.try(p, level, hedge, plan.Hedge, tried)
				tried = append(tried, second.node)
				if tries = append(tries, second); second.end.Before(first.end) {
					tries[0], tries[1] = second, first
				}
			}
		}
		var d Decision
		for i, t := range tries {
			now, code = t.end, t.code
			o := Classify(code, MaybeSent, t.plan.Bounded)
			t.node.Done(now, t.from, o.Verdict().Sample)
			d = c.Done(now, t.plan, o, 0, w.rnd.Uint64())
			if d.Pending {
				continue
			}
			for _, lost := range tries[i+1:] {
				lost.node.Done(now, lost.from, balance.LowerBound)
				c.Lost(now, lost.plan)
			}
			break
		}
		if !d.Retry {
			return now, code
		}
		now = now.Add(d.Wait)
	}
}

// An instance of two is frozen from the start, of one service or of each, and nobody knows it yet. No call fails, and
// the users of all but the first few do not notice.
func TestNestedColdCallsSurviveFrozenInstances(t *testing.T) {
	const levels = 4 // edge → gateway → orders → inventory, and etcd behind it or the like
	for which := range levels + 1 {
		for seed := range uint64(30) {
			w := newWorld(seed, levels, 2, func(level, instance int, _ time.Time) bool {
				return instance == 0 && (which == 0 && level > 0 || which == level)
			})
			now, slow := epoch, 0
			for n := range 100 {
				end, code := w.call(0, 0, now, now.Add(DefaultTimeout))
				took := end.Sub(now)
				if code != failure.OK {
					t.Fatalf("frozen: level %d (0: each), seed %d: call %d failed after %v: %v", which, seed, n, took, code)
				}
				if took > DefaultTimeout {
					t.Fatalf("call %d took %v", n, took)
				}
				if took > 100*time.Millisecond {
					slow++
				}
				now = end.Add(50 * time.Millisecond)
			}
			if slow > 2*levels {
				t.Errorf("frozen: level %d (0: each), seed %d: %d of 100 calls were slow", which, seed, slow)
			}
		}
	}
}

// An instance of each service freezes for ten seconds when all is known and well, with a call every 10 ms. No call
// fails. If besides that 2 % of all requests at every level pause for 200 ms on average, 1 in 1,000 may.
func TestNestedWarmCallsSurviveFrozenInstances(t *testing.T) {
	const levels = 4
	for _, pauses := range []float64{0, 0.02} {
		calls, failed := 0, 0
		var worst time.Duration
		for seed := range uint64(20) {
			from, until := epoch.Add(5*time.Second), epoch.Add(15*time.Second)
			w := newWorld(seed, levels, 2, func(_, instance int, at time.Time) bool {
				return instance == 0 && !at.Before(from) && at.Before(until)
			})
			w.pauses = pauses
			for now := epoch; now.Before(until.Add(5 * time.Second)); {
				end, code := w.call(0, 0, now, now.Add(DefaultTimeout))
				calls++
				if code != failure.OK {
					failed++
				}
				worst = max(worst, end.Sub(now))
				now = end.Add(10 * time.Millisecond)
			}
		}
		t.Logf("%d of %d calls failed, the slowest took %v", failed, calls, worst)
		if allowed := int(pauses * float64(calls) / 20); failed > allowed {
			t.Errorf("%v pauses: %d of %d calls failed", pauses, failed, calls)
		}
		if pauses == 0 && worst > 2*time.Second {
			t.Errorf("a call took %v", worst)
		}
	}
}

// One instance of two freezes, and a while after it is well again, the other one does. The calls that find out are few,
// also the second time, when it is the one with the better past that is frozen.
func TestCallsSurviveOneInstanceFrozenAfterTheOther(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(seed, 1, 2, func(_, instance int, at time.Time) bool {
			s := at.Sub(epoch).Seconds()
			return instance == 0 && s >= 5 && s < 15 || instance == 1 && s >= 20 && s < 30
		})
		slow := 0
		for now := epoch; now.Before(epoch.Add(40 * time.Second)); {
			end, code := w.call(0, 0, now, now.Add(DefaultTimeout))
			if code != failure.OK {
				t.Fatalf("seed %d: the call at %v failed: %v", seed, now.Sub(epoch), code)
			}
			if end.Sub(now) > 100*time.Millisecond {
				slow++
			}
			now = end.Add(10 * time.Millisecond)
		}
		if slow > 4 {
			t.Errorf("seed %d: %d calls were slow", seed, slow)
		}
	}
}
