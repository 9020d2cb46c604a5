package admission

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
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
	// stubborn: work once begun is finished although nobody waits for it. deaf: handlers do not even notice that.
	stubborn, deaf bool
	// ceiling is how many calls the connection has in the server at once, waiting or in progress; 0: any number. What
	// comes while there are as many is not even read, neither calls nor that they are given up, and the time that a call
	// has left is as it was when it was sent: so does grpc-go.
	ceiling int
	// pauses is how long the server's process, of which the callers are not a part, stops now and then at most. What had
	// been begun goes on meanwhile, as work elsewhere does. Needs a ceiling.
	pauses time.Duration
	// stall is what stands still for as long as stalled says, at each of the moments in stalls, which are in order and
	// farther apart.
	stall   stalling
	stalled time.Duration
	stalls  []time.Duration

	length time.Duration
	cfg    Config

	rng     *rand.Rand
	now     int64
	events  events
	seq     uint64
	core    *core
	k       *kind
	inside  []*job // waiting for a worker
	busy    int
	jobs    []*job // every one that came
	waiting map[*waiter]*job
	wire    []*job // what came and was not read: a call, or one that was read or sent before: that it is given up
	held    int    // calls in the server
	stopped int64  // until then the process is
	trace   func(at time.Duration, w *world)
}

// stalling is what stands still.
type stalling uint8

const (
	nothing stalling = iota
	workers          // what had been begun ends that much later
	process          // the server's, of which neither callers nor what had been begun are a part. Needs a ceiling.
	machine          // the callers, too: what they would have sent meanwhile they send at once afterwards. Needs a ceiling.
)

func (s stalling) String() string {
	return [...]string{"nothing", "the workers", "the process", "the machine"}[s]
}

type job struct {
	at       int64
	deadline int64 // as the server knows it
	gone     int64 // when the caller does not wait any more; 0: never
	sent     bool  // it has been read
	closed   bool  // the caller does not wait any more
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
	at   int64
	seq  uint64
	do   func()
	ours bool // of the server's process
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

func (w *world) after(d int64, do func()) { w.then(d, false, do) }

func (w *world) then(d int64, ours bool, do func()) {
	w.seq++
	heap.Push(&w.events, event{at: w.now + d, seq: w.seq, do: do, ours: ours})
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
	w.core = newCore(w.cfg)
	w.waiting = make(map[*waiter]*job)
	w.k = w.core.kind(0, "", "")
	var next func()
	next = func() {
		gap := w.rng.ExpFloat64() / max(w.rate(time.Duration(w.now)), 1e-9) * float64(time.Second)
		gap = math.Min(gap, float64(100*time.Millisecond)) // the rate may have changed until then
		if gap < float64(100*time.Millisecond) {
			w.after(int64(gap), func() { w.call(); next() })
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
		w.then(int64(5*time.Millisecond), true, poll)
	}
	poll()
	if w.pauses > 0 {
		var pause func()
		pause = func() {
			d := w.rng.Int64N(int64(w.pauses))
			w.stopped = w.now + d
			w.then(d, true, w.read)
			w.after(d+int64(w.rng.ExpFloat64()*10*float64(w.pauses)), pause)
		}
		pause()
	}
	for _, at := range w.stalls {
		if w.stall == process || w.stall == machine {
			w.after(int64(at), func() {
				w.stopped = w.now + int64(w.stalled)
				w.then(int64(w.stalled), true, w.read)
			})
		}
	}
	if w.trace != nil {
		var tr func()
		tr = func() { w.trace(time.Duration(w.now), w); w.after(int64(100*time.Millisecond), tr) }
		tr()
	}
	for w.events.Len() > 0 {
		e := heap.Pop(&w.events).(event)
		if e.at > int64(w.length) {
			break
		}
		if e.ours && e.at < w.stopped {
			e.at = w.stopped
			heap.Push(&w.events, e)
			continue
		}
		w.now = e.at
		e.do()
	}
	return w
}

// call is that one is due.
func (w *world) call() {
	critical := w.rng.Float64() < w.critical
	for _, at := range w.stalls {
		if end := int64(at + w.stalled); w.stall == machine && w.now >= int64(at) && w.now < end {
			w.after(end-w.now, func() { w.come(w.now, 0, critical) })
			return
		}
	}
	w.come(w.now, 0, critical)
}

// ending is when work is done that begins at a time.
func (w *world) ending(at, work int64) int64 {
	if w.stall != workers {
		return at + work
	}
	for _, from := range w.stalls {
		if from, to := int64(from), int64(from+w.stalled); at >= from && at < to {
			at = to
		} else if at < from && at+work > from {
			work += to - from
		}
	}
	return at + work
}

func (w *world) come(first int64, attempt int, critical bool) {
	j := &job{at: w.now, critical: critical, attempt: attempt}
	w.jobs = append(w.jobs, j)
	if w.ceiling == 0 {
		w.enter(j)
		return
	}
	w.wire = append(w.wire, j)
	if w.deadline > 0 {
		j.gone = w.now + int64(w.deadline)
		w.after(int64(w.deadline), func() {
			j.closed = true
			if !j.over {
				w.again(j)
			}
			w.wire = append(w.wire, j)
			w.read()
		})
	}
	w.read()
}

// read reads from the wire as long as the connection has room.
func (w *world) read() {
	for len(w.wire) > 0 && w.now >= w.stopped {
		j := w.wire[0]
		if !j.sent && w.held >= w.ceiling {
			return
		}
		w.wire = w.wire[1:]
		if j.sent {
			w.cancel(j)
			continue
		}
		j.sent = true
		w.held++
		w.enter(j)
	}
}

// cancel is that the caller of j does not wait any more, as the server hears of it.
func (w *world) cancel(j *job) {
	if j.over {
		return
	}
	j.deadline = -1
	w.giveUp(j)
}

// enter is that the server knows of j.
func (w *world) enter(j *job) {
	if w.deadline > 0 {
		j.deadline = w.now + int64(w.deadline)
	}
	c := resilience.Critical
	if j.critical {
		c = resilience.CriticalPlus
	}
	v, wt := w.core.arrive(w.now, j.deadline, w.k, rank(c, j.attempt))
	j.waiter = wt
	if j.deadline > 0 {
		w.then(int64(w.deadline), true, func() { w.giveUp(j) })
	}
	switch v {
	case admitted:
		w.begin(j)
	case queued:
		w.waiting[wt] = j
	default:
		j.verdict = v
		w.finish(j, false)
	}
	w.settle()
}

// settle acts on what the core has decided about waiters.
func (w *world) settle() {
	for len(w.core.decided) > 0 {
		list := w.core.decided
		w.core.decided = nil
		for _, wt := range list {
			j := w.waiting[wt]
			delete(w.waiting, wt)
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
		w.then(int64(100*time.Microsecond), true, func() { w.finish(j, false) })
		return
	}
	j.work = int64(w.work(w.rng, time.Duration(w.now)))
	w.inside = append(w.inside, j)
	w.employ(0)
}

// employ gives idle workers work, of which the first was idle already some time ago.
func (w *world) employ(ago int64) {
	for len(w.inside) > 0 && (w.workers == 0 || w.busy < w.workers) {
		j := w.inside[0]
		w.inside = w.inside[1:]
		if j.over {
			continue
		}
		j.working = true
		w.busy++
		end := w.ending(w.now-min(ago, j.work), j.work)
		ago = 0
		w.then(end-w.now, true, func() {
			if j.working {
				j.working = false
				w.busy--
			}
			if !j.over {
				w.finish(j, true)
			}
			w.employ(w.now - end)
		})
	}
}

// giveUp is the deadline of j.
func (w *world) giveUp(j *job) {
	if j.over {
		return
	}
	if j.verdict != admitted {
		if j.waiter.verdict != undecided {
			return // at the same moment
		}
		delete(w.waiting, j.waiter)
		w.core.cancel(w.now, j.waiter)
		w.finish(j, false)
		w.settle()
		return
	}
	if w.deaf {
		return
	}
	if j.working && !w.stubborn {
		j.working = false
		w.busy--
	}
	if !j.working {
		w.finish(j, false)
		w.employ(0)
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
	j.ok = ok && !late && !j.closed
	if j.verdict == admitted {
		o := Done
		switch {
		case late && w.deaf:
			o = TooLate
		case late:
			o = Late
		case !ok:
			o = Failed
		}
		w.core.end(w.now, j.begun, w.k, o)
	}
	if !j.ok && !j.closed && j.verdict != shedAll {
		w.again(j)
	}
	w.settle()
	if w.ceiling > 0 {
		w.held--
		w.then(0, true, w.read)
	}
}

// again is what the caller of j does when it has failed.
func (w *world) again(j *job) {
	if j.attempt < w.retries {
		w.come(j.at, j.attempt+1, j.critical)
	}
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
