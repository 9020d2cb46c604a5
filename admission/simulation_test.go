package admission

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/resilience"
)

// world simulates a server with admission in virtual time: calls arrive, wait inside for one of its workers, are
// worked on for a random time, and are given up at their deadlines. It is deterministic for a seed.
type world struct {
	// Workers is how many calls are worked on at once; 0: all, as when calls wait for something else. It may change.
	workers int
	// work is how long a call takes, given a random source and the time.
	work func(rng *rand.Rand, at time.Duration) time.Duration
	// rate is the calls per second at a time.
	rate     func(at time.Duration) float64
	deadline time.Duration
	// critical is the share of calls that are CriticalPlus; the others are Critical.
	critical float64
	// fail is the share of calls that fail at once.
	fail func(at time.Duration) float64
	// retries: the client repeats a call that was given up or refused that many times, at once.
	retries int
	// bursts are numbers of calls at once, by time.
	bursts map[time.Duration]int
	// stubborn: work once begun is finished although nobody waits for it.
	stubborn bool

	length time.Duration
	cfg    Config

	rng    *rand.Rand
	now    int64
	events events
	seq    uint64
	core   *core
	k      *kind
	inside []*job // waiting for a worker
	busy   int
	jobs   []*job // every one that came
	trace  func(at time.Duration, w *world)
}

type job struct {
	at       int64
	deadline int64
	critical bool
	attempt  int
	waiter   *waiter
	begun    int64 // admitted
	working  bool
	over     bool // its end has been counted
	end      int64
	ok       bool
	verdict  verdict
	work     int64
}

type event struct {
	at  int64
	seq uint64
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

func (w *world) after(d int64, do func()) {
	w.seq++
	heap.Push(&w.events, event{at: w.now + d, seq: w.seq, do: do})
}

func exponential(mean time.Duration) func(*rand.Rand, time.Duration) time.Duration {
	return func(rng *rand.Rand, _ time.Duration) time.Duration {
		return time.Duration(rng.ExpFloat64() * float64(mean))
	}
}

func constant(rate float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return rate }
}

func (w *world) run(seed uint64) *world {
	w.rng = rand.New(rand.NewPCG(seed, 7))
	w.core = newCore(0, w.cfg)
	w.k = w.core.kind("", "")
	var next func()
	next = func() {
		gap := w.rng.ExpFloat64() / max(w.rate(time.Duration(w.now)), 1e-9) * float64(time.Second)
		gap = math.Min(gap, float64(100*time.Millisecond)) // the rate may have changed until then
		if gap < float64(100*time.Millisecond) {
			w.after(int64(gap), func() { w.come(w.now, 0, w.rng.Float64() < w.critical); next() })
		} else {
			w.after(int64(gap), next)
		}
	}
	next()
	for at, n := range w.bursts {
		w.seq++
		heap.Push(&w.events, event{at: int64(at), seq: w.seq, do: func() {
			for range n {
				w.come(w.now, 0, false)
			}
		}})
	}
	var poll func()
	poll = func() {
		w.core.tick(w.now)
		w.settle()
		w.after(int64(5*time.Millisecond), poll)
	}
	poll()
	if w.trace != nil {
		var tr func()
		tr = func() { w.trace(time.Duration(w.now), w); w.after(int64(25*time.Millisecond), tr) }
		tr()
	}
	for w.events.Len() > 0 {
		e := heap.Pop(&w.events).(event)
		if e.at > int64(w.length) {
			break
		}
		w.now = e.at
		e.do()
	}
	return w
}

func (w *world) come(first int64, attempt int, critical bool) {
	j := &job{at: w.now, critical: critical, attempt: attempt}
	if w.deadline > 0 {
		j.deadline = w.now + int64(w.deadline)
	}
	w.jobs = append(w.jobs, j)
	c := resilience.Critical
	if critical {
		c = resilience.CriticalPlus
	}
	v, wt := w.core.arrive(w.now, j.deadline, w.k, rank(c, attempt))
	j.waiter = wt
	if j.deadline > 0 {
		w.after(int64(w.deadline), func() { w.giveUp(j) })
	}
	switch v {
	case admitted:
		w.begin(j)
	case queued:
		byWaiter[wt] = j
	default:
		j.verdict = v
		w.finish(j, false)
	}
	w.settle()
}

var byWaiter = map[*waiter]*job{}

// settle acts on what the core has decided about waiters.
func (w *world) settle() {
	for len(w.core.decided) > 0 {
		list := w.core.decided
		w.core.decided = nil
		for _, wt := range list {
			j := byWaiter[wt]
			delete(byWaiter, wt)
			if wt.verdict == admitted {
				w.begin(j)
				continue
			}
			j.verdict = wt.verdict
			w.finish(j, false)
		}
	}
}

func (w *world) begin(j *job) {
	j.begun = w.now
	j.verdict = admitted
	if w.fail != nil && w.rng.Float64() < w.fail(time.Duration(w.now)) {
		w.after(int64(100*time.Microsecond), func() { w.finish(j, false) })
		return
	}
	j.work = int64(w.work(w.rng, time.Duration(w.now)))
	w.inside = append(w.inside, j)
	w.employ()
}

func (w *world) employ() {
	for len(w.inside) > 0 && (w.workers == 0 || w.busy < w.workers) {
		j := w.inside[0]
		w.inside = w.inside[1:]
		if j.over {
			continue
		}
		j.working = true
		w.busy++
		w.after(j.work, func() {
			if j.working {
				j.working = false
				w.busy--
			}
			if !j.over {
				w.finish(j, true)
			}
			w.employ()
		})
	}
}

// giveUp is the deadline of j.
func (w *world) giveUp(j *job) {
	if j.over {
		return
	}
	if j.verdict != admitted {
		delete(byWaiter, j.waiter)
		w.core.cancel(w.now, j.waiter)
		w.finish(j, false)
		w.settle()
		return
	}
	if j.working && !w.stubborn {
		j.working = false
		w.busy--
	}
	if !j.working {
		w.finish(j, false)
		w.employ()
		w.settle()
	} else {
		j.deadline = -1 // noticed when it returns
	}
}

func (w *world) finish(j *job, ok bool) {
	if j.over {
		return
	}
	j.over = true
	j.end = w.now
	late := j.deadline < 0 || j.deadline > 0 && w.now >= j.deadline
	j.ok = ok && !late
	if j.verdict == admitted {
		o := Done
		switch {
		case late:
			o = Late
		case !ok:
			o = Failed
		}
		w.core.end(w.now, j.begun, w.k, o)
	}
	if !j.ok && j.attempt < w.retries && !(j.verdict == shedAll) {
		w.come(j.at, j.attempt+1, j.critical)
	}
	w.settle()
}

// report is what became of the calls that came in a span of time.
type report struct {
	came, ok, refused, late int
	good                    float64 // per second
	mean, p50, p99          time.Duration
	critical                float64 // share of the CriticalPlus that succeeded
}

func (w *world) report(from, to time.Duration) report {
	var r report
	var lat []time.Duration
	var crit, critOK int
	var sum time.Duration
	for _, j := range w.jobs {
		if j.at < int64(from) || j.at >= int64(to) || !j.over {
			continue
		}
		r.came++
		if j.critical {
			crit++
		}
		switch {
		case j.ok:
			r.ok++
			if j.critical {
				critOK++
			}
			d := time.Duration(j.end - j.at)
			lat = append(lat, d)
			sum += d
		case j.verdict != admitted && j.verdict != undecided:
			r.refused++
		default:
			r.late++
		}
	}
	r.good = float64(r.ok) / (to - from).Seconds()
	slices.Sort(lat)
	if len(lat) > 0 {
		r.p50, r.p99 = lat[len(lat)/2], lat[len(lat)*99/100]
		r.mean = sum / time.Duration(len(lat))
	}
	if crit > 0 {
		r.critical = float64(critOK) / float64(crit)
	}
	return r
}

func (r report) String() string {
	ms := func(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d)/1e6) }
	return fmt.Sprintf("came %d ok %d refused %d late %d good/s %.0f mean %s p50 %s p99 %s crit %.4f",
		r.came, r.ok, r.refused, r.late, r.good, ms(r.mean), ms(r.p50), ms(r.p99), r.critical)
}

func TestExplore(t *testing.T) {
	for _, load := range []float64{0.9, 1.2, 2, 4, 10} {
		for seed := range uint64(3) {
			var b strings.Builder
			w := &world{workers: 20, work: exponential(20 * time.Millisecond), rate: constant(load * 1000), deadline: 250 * time.Millisecond, critical: 0.1, length: 30 * time.Second}
			var sum, n, low, pressed float64
			w.trace = func(at time.Duration, w *world) {
				if at > 3*time.Second {
					sum += w.core.limiter.limit
					n++
					if w.core.limiter.limit < 20 {
						low++
					}
					if w.core.pressed {
						pressed++
					}
				}
				fmt.Fprintf(&b, "%v %v limit %.1f in %d wait %d ratio %.2f pressed %v\n", at, w.core.limiter.phase, w.core.limiter.limit, w.core.inFlight, w.core.queue.n, w.core.limiter.ratio, w.core.pressed)
			}
			w.run(seed)
			t.Logf("load %.1f seed %d: first 2 s: %v", load, seed, w.report(0, 2*time.Second))
			t.Logf("load %.1f seed %d: then: %v; end limit %.1f mean %.1f low %.2f pressed %.2f", load, seed, w.report(3*time.Second, 29*time.Second), w.core.limiter.limit, sum/n, low/n, pressed/n)
			if s := os.Getenv("TRACE"); s != "" && s == fmt.Sprintf("%.1f-%d", load, seed) {
				t.Log(b.String())
			}
		}
	}
}

func TestScenarios(t *testing.T) {
	ms := time.Millisecond
	step := func(a, b, c float64, from, to time.Duration) func(time.Duration) float64 {
		return func(at time.Duration) float64 {
			if at < from {
				return a
			}
			if at < to {
				return b
			}
			return c
		}
	}
	slowed := func(base, slow time.Duration, from, to time.Duration) func(*rand.Rand, time.Duration) time.Duration {
		return func(rng *rand.Rand, at time.Duration) time.Duration {
			if at >= from && at < to {
				return time.Duration(rng.ExpFloat64() * float64(slow))
			}
			return time.Duration(rng.ExpFloat64() * float64(base))
		}
	}
	fixed := func(d time.Duration) func(*rand.Rand, time.Duration) time.Duration {
		return func(rng *rand.Rand, at time.Duration) time.Duration { return d }
	}
	for name, mk := range map[string]func() *world{
		"step": func() *world {
			return &world{workers: 20, work: exponential(20 * ms), rate: step(500, 2000, 500, 10*time.Second, 20*time.Second), deadline: 250 * ms, critical: .1, length: 30 * time.Second}
		},
		"step4": func() *world {
			return &world{workers: 20, work: exponential(20 * ms), rate: step(700, 4000, 700, 10*time.Second, 20*time.Second), deadline: 250 * ms, critical: .1, length: 30 * time.Second}
		},
		"io ramp": func() *world {
			return &world{work: exponential(100 * ms), rate: step(100, 5000, 100, 10*time.Second, 20*time.Second), deadline: time.Second, length: 30 * time.Second}
		},
		"io slower dependency": func() *world {
			return &world{work: slowed(20*ms, 300*ms, 10*time.Second, 20*time.Second), rate: constant(1000), deadline: 2 * time.Second, length: 30 * time.Second}
		},
		"io dependency too slow": func() *world {
			return &world{work: slowed(20*ms, 3*time.Second, 10*time.Second, 20*time.Second), rate: constant(1000), deadline: time.Second, length: 30 * time.Second}
		},
		"io fixed second": func() *world {
			return &world{work: fixed(time.Second), rate: step(100, 2000, 100, 10*time.Second, 20*time.Second), deadline: 5 * time.Second, length: 30 * time.Second}
		},
		"one of ten slow": func() *world {
			return &world{work: func(rng *rand.Rand, at time.Duration) time.Duration {
				if at > 10*time.Second && rng.IntN(10) == 0 {
					return 900 * ms
				}
				return time.Duration(rng.ExpFloat64() * float64(10*ms))
			}, rate: constant(1000), deadline: time.Second, length: 30 * time.Second}
		},
		"one of ten never": func() *world {
			return &world{work: func(rng *rand.Rand, at time.Duration) time.Duration {
				if at > 10*time.Second && rng.IntN(10) == 0 {
					return time.Hour
				}
				return time.Duration(rng.ExpFloat64() * float64(10*ms))
			}, rate: constant(1000), deadline: time.Second, length: 30 * time.Second}
		},
		"half never": func() *world {
			return &world{work: func(rng *rand.Rand, at time.Duration) time.Duration {
				if at > 10*time.Second && rng.IntN(2) == 0 {
					return time.Hour
				}
				return time.Duration(rng.ExpFloat64() * float64(10*ms))
			}, rate: constant(1000), deadline: time.Second, length: 30 * time.Second}
		},
		"one core": func() *world {
			return &world{workers: 1, work: exponential(200 * time.Microsecond), rate: step(3500, 4500, 3500, 10*time.Second, 20*time.Second), deadline: time.Second, length: 30 * time.Second}
		},
		"one core over": func() *world {
			return &world{workers: 1, work: exponential(200 * time.Microsecond), rate: step(3500, 10000, 3500, 10*time.Second, 20*time.Second), deadline: time.Second, length: 30 * time.Second}
		},
		"one slow worker": func() *world {
			return &world{workers: 1, work: exponential(20 * ms), rate: step(30, 100, 30, 10*time.Second, 20*time.Second), deadline: time.Second, length: 30 * time.Second}
		},
		"four slow workers": func() *world {
			return &world{workers: 4, work: exponential(100 * ms), rate: step(20, 80, 20, 10*time.Second, 20*time.Second), deadline: time.Second, length: 30 * time.Second}
		},
		"burst": func() *world {
			return &world{workers: 20, work: exponential(20 * ms), rate: constant(10), deadline: 500 * ms, length: 30 * time.Second, bursts: map[time.Duration]int{5 * time.Second: 200, 15 * time.Second: 200, 25 * time.Second: 200}}
		},
		"burst after overload": func() *world {
			return &world{workers: 20, work: exponential(20 * ms), rate: step(500, 2000, 10, 10*time.Second, 20*time.Second), deadline: 500 * ms, length: 30 * time.Second, bursts: map[time.Duration]int{22 * time.Second: 200, 25 * time.Second: 200}}
		},
		"bursts under load": func() *world {
			b := map[time.Duration]int{}
			for i := range 30 {
				b[time.Duration(i)*time.Second+500*ms] = 200
			}
			return &world{workers: 20, work: exponential(20 * ms), rate: constant(500), deadline: time.Second, length: 30 * time.Second, bursts: b}
		},
		"95 %": func() *world {
			return &world{workers: 20, work: exponential(20 * ms), rate: constant(950), deadline: time.Second, length: 30 * time.Second}
		},
		"failures under overload": func() *world {
			return &world{workers: 20, work: exponential(20 * ms), rate: constant(2000), deadline: 250 * ms, length: 30 * time.Second, fail: step(0, .5, 0, 10*time.Second, 20*time.Second)}
		},
		"all fail": func() *world {
			return &world{workers: 20, work: exponential(20 * ms), rate: constant(500), deadline: 250 * ms, length: 30 * time.Second, fail: step(0, 1, 0, 10*time.Second, 20*time.Second)}
		},
		"retries": func() *world {
			return &world{workers: 10, work: slowed(10*ms, 33*ms, 10*time.Second, 20*time.Second), rate: constant(800), deadline: 100 * ms, length: 30 * time.Second, retries: 2}
		},
		"stubborn": func() *world {
			return &world{workers: 20, stubborn: true, work: exponential(20 * ms), rate: step(500, 2000, 500, 10*time.Second, 20*time.Second), deadline: 250 * ms, length: 30 * time.Second}
		},
		"capacity falls": func() *world {
			return &world{workers: 20, work: slowed(20*ms, 60*ms, 10*time.Second, 20*time.Second), rate: constant(700), deadline: 500 * ms, critical: .1, length: 30 * time.Second}
		},
	} {
		if s := os.Getenv("ONLY"); s != "" && s != name {
			continue
		}
		for seed := range uint64(6) {
			var b strings.Builder
			w := mk()
			limited := 0
			w.trace = func(at time.Duration, w *world) {
				if w.core.limiter.phase != open {
					limited++
				}
				fmt.Fprintf(&b, "%v %v limit %.1f in %d wait %d ratio %.2f pressed %v shed %d late %d\n", at, w.core.limiter.phase, w.core.limiter.limit, w.core.inFlight, w.core.queue.n, w.core.limiter.ratio, w.core.pressed, w.core.stats.Shed, w.core.stats.Late)
			}
			w.run(seed)
			if os.Getenv("SUM") != "" {
				f, d, r, a := w.report(10*time.Second, 12*time.Second), w.report(12*time.Second, 20*time.Second), w.report(20*time.Second, 22*time.Second), w.report(22*time.Second, 30*time.Second)
				t.Logf("%-24s %d lim %4.1f first ok %.0f/%d crit %.3f late %d p99 %.0f | during ok %.0f/%d crit %.3f p99 %.0f | 2s ok %d/%d | after ok %d/%d", name, seed, float64(limited)/10, f.good*2, f.came, f.critical, f.late, float64(f.p99)/1e6, d.good*8, d.came, d.critical, float64(d.p99)/1e6, r.ok, r.came, a.ok, a.came)
				continue
			}
			t.Logf("%s %d: limited %.1f s", name, seed, float64(limited)/10)
			t.Logf("   before %v", w.report(2*time.Second, 10*time.Second))
			t.Logf("   first  %v", w.report(10*time.Second, 12*time.Second))
			t.Logf("   during %v", w.report(12*time.Second, 20*time.Second))
			t.Logf("   2s     %v", w.report(20*time.Second, 22*time.Second))
			t.Logf("   after  %v", w.report(22*time.Second, 30*time.Second))
			if os.Getenv("TRACE") != "" {
				t.Log(b.String())
			}
		}
	}
}
