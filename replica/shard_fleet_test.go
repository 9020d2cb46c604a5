package replica_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/internal/memnet"
	"github.com/holdfast-go/holdfast/replica"
	"github.com/holdfast-go/holdfast/replica/internal/disk"
	"github.com/holdfast-go/holdfast/replica/shard"
)

// pass lets virtual time pass.
func pass(d time.Duration) { <-time.After(d) }

// counters is a machine: how often each key was added to, and by which numbers.
type counters struct {
	mu   sync.Mutex
	adds map[string][]int
}

func newCounters() *counters { return &counters{adds: map[string][]int{}} }

func (c *counters) Apply(e replica.Entry) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key, n, _ := strings.Cut(string(e.Command), "=")
	number, err := strconv.Atoi(n)
	if err != nil {
		return nil, err
	}
	c.adds[key] = append(c.adds[key][:len(c.adds[key]):len(c.adds[key])], number)
	return nil, nil
}

func (c *counters) get(key string) []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.adds[key]
}

type countersSnapshot map[string][]int

func (c *counters) Snapshot() (replica.Snapshot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return countersSnapshot(maps.Clone(c.adds)), nil
}

func (s countersSnapshot) Write(w io.Writer) error { return json.NewEncoder(w).Encode(s) }

func (s countersSnapshot) Release() {}

func (c *counters) Restore(r io.Reader) error {
	var s countersSnapshot
	if err := json.NewDecoder(r).Decode(&s); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.adds = s
	return nil
}

// fleet is hosts with shards on one network, each with a disk of its own.
type fleet struct {
	*testing.T
	net      *memnet.Network
	cfg      shard.Config
	machines map[string]*machine // by name
	order    []string
	ends     []func() // what ends that the test has begun, also if it fails
}

type machine struct {
	f    *fleet
	name string
	addr string
	fs   *disk.Sim

	started atomic.Bool // at least once

	mu   sync.Mutex
	host *replica.Host
	m    *shard.Map
	end  context.CancelFunc
	done sync.WaitGroup
}

func inFleet(t *testing.T, seed uint64, names []string, cfg shard.Config, test func(f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		logger := slog.New(slog.DiscardHandler)
		if os.Getenv("REPLICA_LOG") != "" {
			logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
		}
		cfg.Name, cfg.Logger = "count", logger
		cfg.Machine = func(int) replica.Machine { return newCounters() }
		cfg.Group.Keys = 100_000
		f := &fleet{T: t, net: memnet.New(), cfg: cfg, machines: map[string]*machine{}, order: names}
		for i, n := range names {
			f.machines[n] = &machine{f: f, name: n, addr: fmt.Sprintf("127.0.0.1:%d", 7001+i), fs: disk.NewSim(seed*100 + uint64(i))}
		}
		defer func() {
			for _, end := range f.ends {
				end()
			}
			for _, n := range names {
				f.machines[n].stop()
			}
			pass(10 * time.Second) // what waits for a time-out in grpc
		}()
		test(f)
	})
}

// Watch implements replica.Peers.
func (f *fleet) Watch(ctx context.Context, update func([]replica.Peer)) error {
	for ctx.Err() == nil {
		var all []replica.Peer
		for _, n := range f.order {
			if x := f.machines[n]; x.started.Load() {
				all = append(all, replica.Peer{Name: n, Addr: x.addr})
			}
		}
		update(all)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

func (x *machine) start() {
	x.f.Helper()
	x.started.Store(true)
	lis, err := x.f.net.Listen(x.addr)
	if err != nil {
		x.f.Fatal(err)
	}
	host, err := replica.NewHostOn(replica.Config{
		Name: x.name, Dir: "data", Peers: x.f, Founders: x.f.order[:3], Listener: lis, Election: time.Second,
		SegmentBytes: 256 << 10, Logger: x.f.cfg.Logger,
	}, x.fs, grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return x.f.net.Dial(ctx, addr) }))
	if err != nil {
		x.f.Fatal(err)
	}
	m, err := shard.New(host, x.f.cfg)
	if err != nil {
		x.f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	x.done.Go(func() {
		if err := host.Run(ctx); err != nil && !errors.Is(err, disk.ErrCrashed) {
			x.f.Errorf("%s: %v", x.name, err)
		}
	})
	x.done.Go(func() {
		if err := m.Run(ctx); err != nil {
			x.f.Errorf("%s: %v", x.name, err)
		}
	})
	x.mu.Lock()
	defer x.mu.Unlock()
	x.host, x.m, x.end = host, m, cancel
}

func (x *machine) shards() *shard.Map {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.m
}

// serves reports whether a registry would tell callers of it.
func (x *machine) serves() bool {
	m := x.shards()
	if m == nil {
		return false
	}
	select {
	case <-m.Ready():
		return true
	default:
		return false
	}
}

func (x *machine) stop() {
	x.mu.Lock()
	running := x.m != nil
	x.m = nil
	x.mu.Unlock()
	if running {
		x.end()
		x.done.Wait()
	}
}

// crash is a loss of power.
func (x *machine) crash() {
	x.fs.CrashAt(x.fs.Ops() + 1)
	x.f.net.Cut(x.addr)
	x.stop()
	x.fs.Crash()
	x.f.net.Restore(x.addr)
}

func (f *fleet) start(names ...string) {
	for _, n := range names {
		f.machines[n].start()
	}
}

func (f *fleet) ready(names ...string) {
	f.Helper()
	for _, n := range names {
		select {
		case <-f.machines[n].shards().Ready():
		case <-time.After(time.Minute):
			f.dump()
			f.Fatalf("%s is not ready within a minute", n)
		}
	}
}

func (f *fleet) dump() {
	for _, n := range f.order {
		if m := f.machines[n].shards(); m != nil {
			f.Logf("%s: table %+v", n, m.Table().Status())
			for i, r := range m.Rows() {
				f.Logf("%s: row %d: %+v", n, i, r)
			}
			for _, g := range f.machines[n].host.Groups() {
				f.Logf("%s: %s: %+v", n, g.Name(), g.Status())
			}
			break
		}
	}
}

// local finds who is to be asked for a key, as a service that passes calls on would: from any host, along what each
// knows.
func (f *fleet) local(rng *rand.Rand, key string) (*replica.Group, *counters, bool) {
	var serve []*machine
	for _, n := range f.order {
		if x := f.machines[n]; x.serves() {
			serve = append(serve, x)
		}
	}
	if len(serve) == 0 {
		return nil, nil, false
	}
	at := serve[rng.IntN(len(serve))]
	for range 4 {
		m := at.shards()
		if m == nil {
			return nil, nil, false
		}
		n := m.Of(key)
		if g, machine, ok := m.Local(n); ok {
			return g, machine.(*counters), true
		}
		hosts := m.Hosts(n)
		if len(hosts) == 0 {
			return nil, nil, false
		}
		at = f.machines[hosts[rng.IntN(len(hosts))]]
	}
	return nil, nil, false
}

// writers add numbers to keys, each to its own, until they are stopped, and repeat what fails.
type writers struct {
	f       *fleet
	quit    chan struct{}
	end     func() // closes quit
	work    sync.WaitGroup
	mu      sync.Mutex
	last    map[string]int // acknowledged
	failed  []error
	slowest time.Duration
}

func (f *fleet) write(n int) *writers {
	w := &writers{f: f, quit: make(chan struct{}), last: map[string]int{}}
	w.end = sync.OnceFunc(func() { close(w.quit) })
	f.ends = append(f.ends, func() { w.end(); w.work.Wait() })
	for i := range n {
		w.work.Go(func() { w.run(fmt.Sprintf("key %d", i), rand.New(rand.NewPCG(uint64(i), 3))) })
	}
	return w
}

func (w *writers) run(key string, rng *rand.Rand) {
	for n := 1; ; n++ {
		began := time.Now()
		for !w.try(rng, key, n) {
			if time.Since(began) > 2*time.Minute {
				w.f.Errorf("%s=%d: not written in two minutes", key, n)
				return
			}
			select {
			case <-w.quit:
				if w.f.Failed() { // nobody looks at what is written
					return
				}
			default:
			}
			pass(20 * time.Millisecond)
		}
		w.mu.Lock()
		w.last[key] = n
		w.slowest = max(w.slowest, time.Since(began))
		w.mu.Unlock()
		select {
		case <-w.quit:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (w *writers) try(rng *rand.Rand, key string, n int) bool {
	g, _, ok := w.f.local(rng, key)
	if !ok { // for a moment, no host that was asked knew better
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if _, err := g.Propose(ctx, fmt.Appendf(nil, "%s=%d", key, n), replica.Once(fmt.Sprintf("%s=%d", key, n))); err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.failed = append(w.failed, err)
		return false
	}
	return true
}

// stop ends the writing and checks that each key has each number once, in order.
func (w *writers) stop() {
	w.f.Helper()
	w.end()
	w.work.Wait()
	rng := rand.New(rand.NewPCG(1, 1))
	for _, key := range slices.Sorted(maps.Keys(w.last)) {
		var got []int
		for try := 0; ; try++ {
			g, machine, ok := w.f.local(rng, key)
			if ok {
				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
				err := g.Read(ctx, replica.Linearizable, func() error { got = machine.get(key); return nil })
				cancel()
				if err == nil {
					break
				}
			}
			if try == 1000 {
				w.f.dump()
				w.f.Fatalf("%s cannot be read", key)
			}
			pass(20 * time.Millisecond)
		}
		want := make([]int, w.last[key])
		for i := range want {
			want[i] = i + 1
		}
		if !slices.Equal(got, want) {
			w.f.Errorf("%s: %d numbers, and %d were acknowledged: %v", key, len(got), len(want), got)
		}
	}
}

// spread checks that the shards are where a plan for hosts has them, and nothing else is left of them anywhere.
func (f *fleet) spread(hosts ...string) {
	f.Helper()
	var why string
	for range 6000 {
		if why = f.misplaced(hosts); why == "" {
			return
		}
		pass(10 * time.Millisecond)
	}
	f.dump()
	f.Fatal(why)
}

func (f *fleet) misplaced(hosts []string) string {
	load := map[string]int{}
	var rows []shard.Row
	for _, n := range f.order {
		if m := f.machines[n].shards(); m != nil {
			rows = m.Rows()
		}
	}
	for i, r := range rows {
		if r.Target != nil || r.Leaving != nil || !r.Founded {
			return fmt.Sprintf("shard %d is on its way: %+v", i, r)
		}
		for _, h := range r.Hosts {
			load[h]++
		}
	}
	total := 0
	for _, n := range f.order {
		m := f.machines[n]
		if m.shards() == nil {
			continue
		}
		if groups := len(m.host.Groups()) - 1; groups != load[n] {
			return fmt.Sprintf("%s has %d groups and should have %d", n, groups, load[n])
		}
		total += load[n]
		if each := f.cfg.Shards * f.cfg.Replicas / len(hosts); slices.Contains(hosts, n) && (load[n] < each || load[n] > each+1) || !slices.Contains(hosts, n) && load[n] > 0 {
			return fmt.Sprintf("%s has %d shards: %v", n, load[n], load)
		}
	}
	return ""
}

func (f *fleet) rebalance(at string, hosts ...string) {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := f.machines[at].shards().Rebalance(ctx, hosts); err != nil {
		f.dump()
		f.Fatal(err)
	}
}
