package main

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/holdfast-go/holdfast/balance"
)

const (
	instances   = 20
	workers     = 4
	mean        = 10 * time.Millisecond
	slower      = 2 // times, every second instance
	utilisation = 0.75
	network     = 250 * time.Microsecond // each way

	disturbed = 500 * time.Millisecond // how often, in the mean, and for how long
	leaves    = 0.3                    // of the speed

	// capacity is the calls a second that all instances can do, undisturbed.
	capacity = instances / 2 * workers * (1 + 1.0/slower) * float64(time.Second/mean)
	rate     = utilisation * capacity
)

// pause is the mean time between two calls.
const pause = time.Second / time.Duration(rate)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world is clients that call instances, in virtual time.
type world struct {
	rnd     *rand.Rand
	now     time.Duration
	events  events
	serial  int
	servers []*server
	clients []*client
	took    []time.Duration
	from    time.Duration // when calls begin to count
}

type client struct {
	b    *balance.Balancer
	view *balance.View
}

// server is an instance: so many workers, and a queue.
type server struct {
	world   *world
	load    balance.Load
	speed   float64
	calm    float64 // the speed when nothing disturbs it
	queue   []*job
	running []*job
}

// job is a call.
type job struct {
	client   *client
	node     *balance.Node
	begun    time.Duration // at the client
	arrived  time.Duration // at the server
	inFlight int           // there when it arrived
	work     float64       // seconds left at speed 1
	since    time.Duration // when work was reckoned last
	end      int           // serial number of the event that ends it
}

type event struct {
	at     time.Duration
	serial int
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if e[i].at != e[j].at {
		return e[i].at < e[j].at
	}
	return e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newWorld(seed uint64, clients int, policy string, knows bool) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // to be repeated
	members := make([]balance.Member, instances)
	for i := range instances {
		speed := 1.0
		if i%2 == 1 {
			speed = 1.0 / slower
		}
		w.servers = append(w.servers, &server{world: w, speed: speed, calm: speed})
		members[i] = balance.Member{ID: fmt.Sprintf("work-%d", i)}
		if knows {
			members[i].Weight = int(speed * slower)
		}
	}
	for range clients {
		c := &client{b: balance.New(balance.Config{Policy: policy, Seed: w.rnd.Uint64() | 1})}
		c.view = c.b.View(epoch, c.b.Update(epoch, members))
		w.clients = append(w.clients, c)
	}
	return w
}

// after has do done after d, and returns the event's serial number.
func (w *world) after(d time.Duration, do func()) int {
	w.serial++
	heap.Push(&w.events, event{w.now + d, w.serial, do})
	return w.serial
}

// exp returns a random time with the mean d.
func (w *world) exp(d time.Duration) time.Duration {
	return time.Duration(w.rnd.ExpFloat64() * float64(d))
}

func (w *world) time() time.Time { return epoch.Add(w.now) }

// run returns what the calls took that began at from or later, until the end.
func (w *world) run(from, until time.Duration) []time.Duration {
	w.from = from
	w.after(0, w.arrive)
	w.after(0, w.disturb)
	for w.now < until {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	return w.took
}

// arrive is the next call, of any client.
func (w *world) arrive() {
	w.after(w.exp(pause), w.arrive)
	c := w.clients[w.rnd.IntN(len(w.clients))]
	pick := balance.Call{Now: w.time(), Rand: w.rnd.Uint64(), Safe: true}
	i := c.view.Pick(pick)
	j := &job{client: c, node: c.view.Nodes()[i], begun: w.now, work: w.rnd.ExpFloat64() * mean.Seconds()}
	j.node.Start()
	w.after(network, func() { w.servers[i].take(j) })
	var probes [balance.MaxProbes]int
	for _, i := range probes[:c.view.Probes(pick, &probes)] {
		w.after(network, func() {
			report := w.servers[i].load.Report(w.time())
			w.after(network, func() { c.b.Probed(c.view.Nodes()[i], w.time(), report) })
		})
	}
}

func (w *world) disturb() {
	w.after(w.exp(disturbed), w.disturb)
	s := w.servers[w.rnd.IntN(len(w.servers))]
	s.turn(s.calm * leaves)
	w.after(disturbed, func() { s.turn(s.calm) })
}

// turn changes the speed.
func (s *server) turn(speed float64) {
	for _, j := range s.running {
		s.reckon(j)
	}
	s.speed = speed
	for _, j := range s.running {
		s.schedule(j)
	}
}

func (s *server) reckon(j *job) {
	j.work -= (s.world.now - j.since).Seconds() * s.speed
	j.since = s.world.now
}

func (s *server) schedule(j *job) {
	end := 0
	end = s.world.after(time.Duration(max(j.work, 0)/s.speed*float64(time.Second)), func() {
		if j.end == end { // or the speed has changed since
			s.finish(j)
		}
	})
	j.end = end
}

func (s *server) take(j *job) {
	j.arrived, j.inFlight = s.world.now, s.load.Start()
	s.queue = append(s.queue, j)
	s.next()
}

func (s *server) next() {
	for len(s.queue) > 0 && len(s.running) < workers {
		j := s.queue[0]
		s.queue[0] = nil
		s.queue = s.queue[1:]
		j.since = s.world.now
		s.running = append(s.running, j)
		s.schedule(j)
	}
}

func (s *server) finish(j *job) {
	w := s.world
	for i, r := range s.running {
		if r == j {
			s.running = append(s.running[:i], s.running[i+1:]...)
			break
		}
	}
	s.load.Done(w.time(), epoch.Add(j.arrived), j.inFlight, true)
	s.next()
	w.after(network, func() {
		j.client.b.Done(j.node, w.time(), epoch.Add(j.begun), balance.Latency, balance.Good)
		if j.begun >= w.from {
			w.took = append(w.took, w.now-j.begun)
		}
	})
}
