package holdfast_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/internal/fault"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/replica/kv"
)

// agent is the platform's end of one process.
type agent struct {
	t     *testing.T
	lis   net.Listener
	conn  net.Conn
	seq   uint64
	hello fault.Hello
	acks  chan uint64
	stats chan fault.Stats // the latest
}

func newAgent(t *testing.T) *agent {
	lis, err := net.Listen("unix", filepath.Join(t.TempDir(), "a"))
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, lis: lis, acks: make(chan uint64, 10), stats: make(chan fault.Stats, 1)}
	t.Cleanup(a.close)
	return a
}

func (a *agent) close() {
	a.lis.Close()
	if a.conn != nil {
		a.conn.Close()
	}
}

// accept waits for the process and gives it its first plan.
func (a *agent) accept(first fault.Plan) {
	a.t.Helper()
	c, err := a.lis.Accept()
	if err != nil {
		a.t.Fatal(err)
	}
	a.conn = c
	in := fault.NewReader(c)
	m, err := in.Read()
	if err != nil || m.Hello == nil {
		a.t.Fatalf("no hello: %+v, %v", m, err)
	}
	a.hello = *m.Hello
	go func() {
		for {
			m, err := in.Read()
			if err != nil {
				return
			}
			if m.Ack > 0 {
				a.acks <- m.Ack
			}
			if m.Stats != nil {
				select {
				case <-a.stats:
				default:
				}
				a.stats <- *m.Stats
			}
		}
	}()
	a.plan(first)
}

// plan returns when it is in force.
func (a *agent) plan(p fault.Plan) {
	a.t.Helper()
	a.seq++
	if err := fault.Write(a.conn, fault.Message{Plan: &p, Seq: a.seq}); err != nil {
		a.t.Fatal(err)
	}
	select {
	case got := <-a.acks:
		if got != a.seq {
			a.t.Fatalf("plan %d acknowledged, not %d", got, a.seq)
		}
	case <-time.After(patience):
		a.t.Fatal("a plan that is not acknowledged")
	}
}

func follower(t *testing.T, a *agent, engine driver.Registry, name string) *instance {
	i := newInstance(t, engine, name, name+"-1", func(c *holdfast.Config) { c.Settings.Agent = a.lis.Addr().String() }).both(nil)
	a.accept(fault.Plan{})
	return i.run(t)
}

// short is a context for a call that is meant to find nobody.
func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestAPlatformCutsAServiceOffFromAnother(t *testing.T) {
	t.Parallel()
	engine, platform := memregistry.New(), newAgent(t)
	b := newInstance(t, engine, "beta", "beta-1", nil).both(nil).run(t)
	a := follower(t, platform, engine, "alpha")
	if platform.hello.Service != "alpha" || platform.hello.Instance != "alpha-1" || platform.hello.PID == 0 {
		t.Errorf("hello: %+v", platform.hello)
	}
	works := func(when string) {
		t.Helper()
		if got, err := callGRPC(t.Context(), a.Dial("beta")); err != nil || got != "beta-1" {
			t.Errorf("gRPC %s: %q, %v", when, got, err)
		}
		if got, err := get(t.Context(), a.HTTPClient(), "http://beta/id"); err != nil || got != "beta-1" {
			t.Errorf("HTTP %s: %q, %v", when, got, err)
		}
	}
	works("before")
	// The connections are open: what is sent on them does not arrive.
	platform.plan(fault.Plan{Dial: []fault.Link{{To: []string{b.grpc, b.http}, Shape: fault.Shape{CutOut: true}}}})
	if got, err := callGRPC(short(t), a.Dial("beta")); err == nil {
		t.Errorf("gRPC through a cut: %q", got)
	}
	if got, err := get(short(t), a.HTTPClient(), "http://beta/id"); err == nil {
		t.Errorf("HTTP through a cut: %q", got)
	}
	platform.plan(fault.Plan{})
	works("after")

	platform.plan(fault.Plan{Dial: []fault.Link{{To: []string{"*"}, Shape: fault.Shape{Reset: true, Refuse: true}}}})
	if got, err := callGRPC(short(t), a.Dial("beta")); err == nil {
		t.Errorf("gRPC to where it is refused: %q", got)
	}
	platform.close() // and with it ends what it has done
	works("without a platform")
}

// TestNoListenerForPlaintextBeyondLoopback: under a platform, too, nobody listens there for a moment before it is refused.
func TestNoListenerForPlaintextBeyondLoopback(t *testing.T) {
	t.Parallel()
	taken := listener(t)
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	everywhere := "0.0.0.0:" + port // whoever listens there is told that it is taken
	for what, change := range map[string]func(*holdfast.Config){
		"rpc":  func(c *holdfast.Config) { c.RPCServer.Addr, c.RPCServer.Listener = everywhere, nil },
		"rest": func(c *holdfast.Config) { c.HTTPServer.Addr, c.HTTPServer.Listener = everywhere, nil },
		"replica": func(c *holdfast.Config) {
			c.Replica.Addr, c.Replica.Members, c.Replica.Dir = everywhere, 1, t.TempDir()
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			platform := newAgent(t)
			i := newInstance(t, memregistry.New(), "alpha", "alpha-1", func(c *holdfast.Config) {
				c.Settings.Agent = platform.lis.Addr().String()
				change(c)
			}).both(nil)
			platform.accept(fault.Plan{})
			var err error
			if what == "replica" {
				_, err = i.Replicate()
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				_ = i.Run(ended) // closes what New has opened
			} else {
				err = i.Run(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), "plaintext is for loopback only") || errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("Run: %v", err)
			}
		})
	}
}

func TestAPlatformCutsOthersOffFromAService(t *testing.T) {
	t.Parallel()
	engine, platform := memregistry.New(), newAgent(t)
	a := follower(t, platform, engine, "alpha")
	b := newInstance(t, engine, "beta", "beta-1", nil).both(nil).run(t)
	if got, err := callGRPC(t.Context(), b.Dial("alpha")); err != nil || got != "alpha-1" {
		t.Errorf("before: %q, %v", got, err)
	}
	platform.plan(fault.Plan{Accept: &fault.Shape{CutOut: true, CutIn: true}})
	if got, err := callGRPC(short(t), b.Dial("alpha")); err == nil {
		t.Errorf("gRPC through a cut: %q", got)
	}
	if resp, err := (&http.Client{Timeout: 300 * time.Millisecond, Transport: plain.Transport}).Get("http://" + a.http + "/id"); err == nil {
		resp.Body.Close()
		t.Error("HTTP through a cut")
	}
	platform.plan(fault.Plan{})
	if got, err := callGRPC(t.Context(), b.Dial("alpha")); err != nil || got != "alpha-1" {
		t.Errorf("after: %q, %v", got, err)
	}
}

func TestAPlatformFailsCallsButNotHealthChecks(t *testing.T) {
	t.Parallel()
	engine, platform := memregistry.New(), newAgent(t)
	a := follower(t, platform, engine, "alpha")
	b := newInstance(t, engine, "beta", "beta-1", nil).both(nil).run(t)
	platform.plan(fault.Plan{Calls: []fault.Calls{{Share: 1, Code: "FAILED_PRECONDITION"}}})
	conn := b.Dial("alpha")
	if _, err := callGRPC(t.Context(), conn); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("gRPC: %v", err)
	}
	if r, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health of gRPC: %v, %v", r, err)
	}
	for path, want := range map[string]int{"/id": http.StatusConflict, "/healthz": http.StatusOK} {
		resp, err := plain.Get("http://" + a.http + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, resp.Status, want)
		}
	}
	platform.plan(fault.Plan{Calls: []fault.Calls{{Methods: []string{"GET /id"}, Share: 1, Code: "NOT_FOUND"}}})
	if got, err := callGRPC(t.Context(), conn); err != nil || got != "alpha-1" {
		t.Errorf("gRPC, which no rule is for: %q, %v", got, err)
	}
}

func TestAPlatformKnowsHowMuchAProcessDoes(t *testing.T) {
	t.Parallel()
	engine, platform := memregistry.New(), newAgent(t)
	a := follower(t, platform, engine, "alpha")
	const calls = 7
	for range calls {
		if _, err := callGRPC(t.Context(), a.Dial("alpha")); err != nil {
			t.Fatal(err)
		}
		if _, err := get(t.Context(), a.HTTPClient(), "http://alpha/id"); err != nil {
			t.Fatal(err)
		}
	}
	var last fault.Stats
	eventually(t, "stats of all calls", func() bool {
		select {
		case last = <-platform.stats:
		default:
		}
		return last.Served == 2*calls && last.Calls == 2*calls
	})
	if last.Attempts < last.Calls || last.Limit == 0 || last.CPU == 0 || last.InFlight != 0 {
		t.Errorf("%+v", last)
	}
}

func TestWhatAServiceConnectsWithIsADialersOutsideOfAPlatform(t *testing.T) {
	t.Parallel()
	lis := listener(t)
	svc := holdfast.New("alpha")
	defer svc.Close()
	c, err := svc.Dialer()(t.Context(), "tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok := c.(*net.TCPConn); !ok {
		t.Errorf("a %T", c)
	}
}

func TestAPlatformReachesTheEnginesOfAService(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*holdfast.Config, string){
		"registry": func(c *holdfast.Config, addr string) { c.Settings.Registry = "etcd://" + addr },
		"lock":     func(c *holdfast.Config, addr string) { c.Settings.Lock = "etcd://" + addr },
		"config":   func(c *holdfast.Config, addr string) { c.Settings.Config = "etcd://" + addr },
		"queue":    func(c *holdfast.Config, addr string) { c.Settings.Queue = "nats://" + addr },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lis, platform := listener(t), newAgent(t)
			// An engine to which no connection is ever made, since it is cut off.
			addr := lis.Addr().String()
			accepted := make(chan struct{}, 10)
			go func() {
				for {
					c, err := lis.Accept()
					if err != nil {
						return
					}
					accepted <- struct{}{}
					c.Close()
				}
			}()
			svc := holdfast.New("alpha", func(c *holdfast.Config) {
				c.Settings.Agent, c.Settings.Instance = platform.lis.Addr().String(), "alpha-1"
				change(c, addr)
			})
			defer svc.Close()
			platform.accept(fault.Plan{Dial: []fault.Link{{To: []string{addr}, Shape: fault.Shape{Refuse: true}}}})
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- svc.Run(ctx) }()
			switch name {
			case "lock":
				_, _ = svc.Lock("x").TryLock(short(t))
			case "queue":
				_ = svc.Publish(short(t), "x", 1)
			}
			eventually(t, "a connection that was refused", func() bool {
				select {
				case s := <-platform.stats:
					return s.Suffered > 0
				default:
					return false
				}
			})
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if len(accepted) > 0 {
				t.Error("connected")
			}
		})
	}
}

func TestAPlatformBreaksTheDiskOfReplicatedState(t *testing.T) {
	t.Parallel()
	platform := newAgent(t)
	a := newInstance(t, memregistry.New(), "alpha", "alpha-1", func(c *holdfast.Config) {
		c.Settings.Agent, c.Settings.DataDir, c.Settings.Members = platform.lis.Addr().String(), t.TempDir(), 1
	}).both(nil)
	platform.accept(fault.Plan{})
	host, err := a.Replicate()
	if err != nil {
		t.Fatal(err)
	}
	store, err := kv.New(host, "stock", kv.Config{})
	if err != nil {
		t.Fatal(err)
	}
	a.Go("stock", store.Run)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(t.Context()) }()
	if _, err := store.Put(t.Context(), "mug", []byte("1")); err != nil {
		t.Fatal(err)
	}
	platform.plan(fault.Plan{Disk: &fault.Disk{SlowSync: 200 * time.Millisecond}})
	begun := time.Now()
	if _, err := store.Put(t.Context(), "mug", []byte("2")); err != nil || time.Since(begun) < 200*time.Millisecond {
		t.Errorf("on a slow disk: %v after %v", err, time.Since(begun))
	}
	platform.plan(fault.Plan{Disk: &fault.Disk{Full: true}})
	if _, err := store.Put(short(t), "mug", []byte("3")); err == nil {
		t.Error("written to a full disk")
	}
	if err := <-ended; !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Run: %v", err)
	}
}
