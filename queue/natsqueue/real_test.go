//go:build real && linux

package natsqueue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/proxytest"
	"github.com/holdfast-go/holdfast/platform/embed"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/natsqueue"
	"github.com/holdfast-go/holdfast/queue/queuetest"
)

// cluster is servers in processes of their own.
type cluster struct {
	t     testing.TB
	cfgs  []embed.NATSConfig
	procs []*exec.Cmd
}

func startCluster(t testing.TB, n int) *cluster {
	t.Helper()
	dir, addrs := t.TempDir(), freeAddrs(t, 2*n)
	c := &cluster{t: t, procs: make([]*exec.Cmd, n)}
	members := make(map[string]string)
	for i := range n {
		members[fmt.Sprint("m", i)] = addrs[n+i]
	}
	for i := range n {
		cfg := embed.NATSConfig{Name: fmt.Sprint("m", i), DataDir: filepath.Join(dir, fmt.Sprint("m", i)), ClientAddr: addrs[i], Token: token}
		if n > 1 {
			cfg.PeerAddr, cfg.Cluster = addrs[n+i], members
		}
		c.cfgs = append(c.cfgs, cfg)
	}
	t.Cleanup(func() {
		for i := range c.procs {
			c.kill(i)
		}
	})
	for i := range n {
		c.start(i)
	}
	return c
}

func (c *cluster) start(i int) {
	b, err := json.Marshal(c.cfgs[i])
	check(c.t, err)
	self, err := os.Executable()
	check(c.t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childConfig+"="+string(b))
	if testing.Verbose() {
		cmd.Stderr = os.Stderr
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // with the thread that starts it
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		started <- cmd.Start()
		_ = cmd.Wait() // killed
	}()
	check(c.t, <-started)
	c.procs[i] = cmd
}

func (c *cluster) signal(i int, s syscall.Signal) {
	if c.procs[i] != nil {
		_ = c.procs[i].Process.Signal(s) // it may have ended
	}
}

func (c *cluster) kill(i int) {
	c.signal(i, syscall.SIGKILL)
	for c.procs[i] != nil && syscall.Kill(c.procs[i].Process.Pid, 0) == nil {
		runtime.Gosched()
	}
	c.procs[i] = nil
}

func (c *cluster) wipe(i int) {
	c.kill(i)
	check(c.t, os.RemoveAll(c.cfgs[i].DataDir))
	c.start(i)
}

func (c *cluster) servers() (out []string) {
	for _, cfg := range c.cfgs {
		out = append(out, cfg.ClientAddr)
	}
	return out
}

// Open and Restart implement queuetest.Engine, for a cluster of one.
func (c *cluster) Open(t testing.TB) (driver.Engine, queuetest.Link) {
	p := proxytest.New(t, func() string { return c.cfgs[0].ClientAddr })
	d, err := natsqueue.Open(natsqueue.Config{Servers: []string{p.Addr()}, Token: token, Name: t.Name()})
	check(t, err)
	return d, p
}

func (c *cluster) Restart() {
	c.kill(0)
	c.start(0)
}

// TestRealConformance is the suite against a server that is killed with -9.
func TestRealConformance(t *testing.T) {
	shared := startCluster(t, 1)
	queuetest.Run(t, queuetest.Config{
		New: func(t *testing.T) queuetest.Engine {
			if queuetest.Restarts(t.Name()) {
				return startCluster(t, 1)
			}
			return shared
		},
		In: func(t *testing.T, run func(*testing.T)) {
			t.Parallel()
			run(t)
		},
		Hold: 5 * time.Second, Within: 30 * time.Second,
	})
}

// traffic is a publisher, and instances of two groups, of which one is ordered.
type traffic struct {
	t    *testing.T
	q    *queue.Queue
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu        sync.Mutex
	confirmed map[string]bool
	slowest   time.Duration
	failed    int
	seen      map[string]map[string]int // by group and ID
	last      map[string]int            // by key, of the ordered group
	disorder  int
	again     map[string]int
}

func startTraffic(t *testing.T, c *cluster) *traffic {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	tr := &traffic{
		t: t, stop: stop, confirmed: make(map[string]bool), seen: map[string]map[string]int{"a": {}, "o": {}},
		last: make(map[string]int), again: make(map[string]int),
	}
	connect := func(name string) *queue.Queue {
		e := open(t, func(cfg *natsqueue.Config) { cfg.Name = name }, c.servers()...)
		return queue.New(e, queue.Config{Source: "test", Instance: name, Logger: slog.New(slog.DiscardHandler)})
	}
	tr.q = connect("publisher")
	topic, err := queue.NewTopic[string](tr.q, "events", queue.Groups("a"))
	check(t, err)
	// Until the cluster is there.
	for {
		err := topic.Publish(ctx, "first", queue.ID("first"), queue.Key("first"))
		if err == nil {
			break
		}
		if soon(t).Err() != nil {
			t.Fatal(err)
		}
	}
	tr.confirmed["first"] = true
	for _, name := range []string{"one", "two"} {
		q := connect(name)
		for _, group := range []string{"a", "o"} {
			s, err := queue.NewSubscription(q, "events", group, queue.Handle(func(_ context.Context, m queue.Message[string]) error {
				tr.handled(group, m)
				return nil
			}), queue.SubscriptionConfig{Ordered: group == "o"})
			check(t, err)
			tr.wg.Go(func() {
				if err := s.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
	}
	for p := range 4 {
		tr.wg.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				id, key := fmt.Sprintf("%d-%d", p, n), fmt.Sprint("key", p)
				begun := time.Now()
				for { // the next of its key only when this one is there
					pctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
					err := topic.Publish(pctx, fmt.Sprint(n), queue.ID(id), queue.Key(key))
					cancel()
					tr.mu.Lock()
					if err == nil {
						tr.confirmed[id] = true
						tr.slowest = max(tr.slowest, time.Since(begun))
						tr.mu.Unlock()
						break
					}
					tr.failed++
					tr.t.Logf("publish: %v", err)
					tr.mu.Unlock()
					if ctx.Err() != nil {
						return
					}
				}
				select {
				case <-time.After(5 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	return tr
}

func (tr *traffic) handled(group string, m queue.Message[string]) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.seen[group][m.ID]++
	if tr.seen[group][m.ID] > 1 {
		tr.again[group]++
		return
	}
	if group == "o" {
		var n int
		_, _ = fmt.Sscan(m.Value, &n)
		if n != tr.last[m.Key]+1 && m.Key != "first" {
			tr.disorder++
			tr.t.Logf("%s: %d after %d", m.Key, n, tr.last[m.Key])
		}
		tr.last[m.Key] = n
	}
}

// flows returns how long it took until n more were confirmed and both groups had them.
func (tr *traffic) flows(n int) time.Duration {
	tr.t.Helper()
	begun := time.Now()
	tr.mu.Lock()
	want := len(tr.confirmed) + n
	tr.mu.Unlock()
	tr.until("traffic goes on", func() bool {
		return len(tr.confirmed) >= want && len(tr.seen["a"]) >= want && len(tr.seen["o"]) >= want
	})
	return time.Since(begun)
}

func (tr *traffic) until(what string, f func() bool) {
	tr.t.Helper()
	deadline := time.After(90 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		tr.mu.Lock()
		ok := f()
		confirmed, a, o := len(tr.confirmed), len(tr.seen["a"]), len(tr.seen["o"])
		tr.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			tr.t.Fatalf("%s: not within 90 s: %d confirmed, handled %d and %d", what, confirmed, a, o)
		}
	}
}

// end stops the publishers, waits until everything that was confirmed is handled, and judges.
func (tr *traffic) end() {
	tr.t.Helper()
	tr.until("all is handled", func() bool {
		for id := range tr.confirmed {
			if tr.seen["a"][id] == 0 || tr.seen["o"][id] == 0 {
				return false
			}
		}
		return true
	})
	tr.stop()
	tr.wg.Wait()
	tr.t.Logf("%d confirmed (the slowest in %v, %d attempts failed), handled again %v, out of order %d",
		len(tr.confirmed), tr.slowest.Round(time.Millisecond), tr.failed, tr.again, tr.disorder)
	if tr.disorder > 0 {
		tr.t.Errorf("%d out of order", tr.disorder)
	}
}

// TestRealClusterOutlivesItsMembers: one of three servers is killed, frozen for longer than anybody waits, wiped, and all
// of them are killed at once; what was confirmed is handled by both groups, in order where that was asked for.
func TestRealClusterOutlivesItsMembers(t *testing.T) {
	c := startCluster(t, 3)
	tr := startTraffic(t, c)
	t.Logf("at first %v", tr.flows(200).Round(time.Millisecond))
	for i := range 3 {
		c.kill(i)
		t.Logf("member %d killed: goes on after %v", i, tr.flows(200).Round(time.Millisecond))
		c.start(i)
		tr.flows(200)
	}
	for i := range 3 {
		c.signal(i, syscall.SIGSTOP)
		t.Logf("member %d frozen: goes on after %v", i, tr.flows(200).Round(time.Millisecond))
		if i == 0 {
			<-time.After(20 * time.Second)
		}
		c.signal(i, syscall.SIGCONT)
		tr.flows(200)
	}
	c.wipe(1)
	t.Logf("member 1 wiped: goes on after %v", tr.flows(400).Round(time.Millisecond))
	<-time.After(5 * time.Second) // it has everything again
	for i := range 3 {
		c.kill(i)
	}
	for i := range 3 {
		c.start(i)
	}
	t.Logf("all killed: goes on after %v", tr.flows(200).Round(time.Millisecond))
	tr.end()
}
