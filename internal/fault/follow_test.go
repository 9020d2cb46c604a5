package fault

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/internal/memnet"
)

const agentAddr = "127.0.0.1:1"

// agent is the platform's end.
type agent struct {
	t   *testing.T
	net *memnet.Network
	lis net.Listener
	in  *Reader
	c   net.Conn
}

func newAgent(t *testing.T) *agent {
	n := memnet.New()
	lis, err := n.Listen(agentAddr)
	if err != nil {
		t.Fatal(err)
	}
	return &agent{t: t, net: n, lis: lis}
}

func (a *agent) follow() *Injector { return a.followSaying(Saying{}) }

func (a *agent) followSaying(say Saying) *Injector {
	say.Stats = func() Stats { return Stats{InFlight: 3} }
	i := follow(func(ctx context.Context) (net.Conn, error) { return a.net.Dial(ctx, agentAddr) },
		Hello{Service: "orders", Instance: "orders-1", PID: 7}, say, slog.New(slog.DiscardHandler))
	a.t.Cleanup(func() { i.Close() })
	return i
}

// accept takes the next connection and its hello.
func (a *agent) accept() {
	a.t.Helper()
	c, err := a.lis.Accept()
	if err != nil {
		a.t.Fatal(err)
	}
	a.c, a.in = c, NewReader(c)
	m, err := a.in.Read()
	if err != nil || m.Hello == nil || *m.Hello != (Hello{Service: "orders", Instance: "orders-1", PID: 7}) {
		a.t.Fatalf("no hello but %+v: %v", m, err)
	}
}

// plan sends a plan and waits until it is in force.
func (a *agent) plan(seq uint64, p Plan) {
	a.t.Helper()
	if err := Write(a.c, Message{Plan: &p, Seq: seq}); err != nil {
		a.t.Fatal(err)
	}
	for {
		m, err := a.in.Read()
		if err != nil {
			a.t.Fatal(err)
		}
		if m.Ack > 0 {
			if m.Ack != seq {
				a.t.Fatalf("acknowledged %d, not %d", m.Ack, seq)
			}
			return
		}
	}
}

func TestAPlanIsInForceWhenItIsAcknowledgedAndVoidWhenTheAgentIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		i := a.follow()
		a.accept()
		a.plan(1, Plan{})
		a.plan(2, to(Shape{CutOut: true}))
		if got := i.plan.Load().link(addr); !got.CutOut {
			t.Errorf("the plan is %+v", got)
		}
		a.c.Close()
		synctest.Wait()
		if i.plan.Load().something() {
			t.Error("the plan outlives its agent")
		}
		begun := time.Now()
		a.accept()
		if took := time.Since(begun); took > time.Second {
			t.Errorf("it took %v to come back", took)
		}
		a.plan(1, to(Shape{CutIn: true}))
		if got := i.plan.Load().link(addr); !got.CutIn {
			t.Errorf("the plan is %+v", got)
		}
		i.Close()
		if i.plan.Load().something() {
			t.Error("the plan outlives its process")
		}
	})
}

func TestStatsComeTwiceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		a.follow()
		a.accept()
		begun := time.Now()
		for range 5 {
			m, err := a.in.Read()
			if err != nil || m.Stats == nil || m.Stats.InFlight != 3 {
				t.Fatalf("%+v: %v", m, err)
			}
		}
		if took := time.Since(begun); took != 2*time.Second {
			t.Errorf("five took %v", took)
		}
	})
}

func TestConnectionsWaitForTheFirstPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		i := a.follow()
		time.AfterFunc(300*time.Millisecond, func() {
			a.accept()
			a.plan(1, to(Shape{Refuse: true}))
		})
		begun := time.Now()
		_, err := i.Dial(func(context.Context, string, string) (net.Conn, error) {
			t.Error("it connects although the plan refuses that")
			return nil, net.ErrClosed
		})(t.Context(), "tcp", addr)
		if err == nil || time.Since(begun) != 300*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		synctest.Wait()
	})
}

func TestNobodyWaitsLongForAnAgentThatSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newAgent(t).follow()
		begun := time.Now()
		c, err := i.Dial(func(context.Context, string, string) (net.Conn, error) {
			c, _ := net.Pipe()
			return c, nil
		})(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if took := time.Since(begun); took != firstPlan {
			t.Errorf("took %v", took)
		}
	})
}

func TestAnAgentThatTakesNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t)
		i := a.follow()
		a.accept()
		a.plan(1, to(Shape{CutOut: true}))
		<-time.After(10 * time.Minute) // the window fills with stats
		if i.plan.Load().something() {
			t.Error("the plan outlives an agent that hangs")
		}
	})
}

func TestNonsenseFromTheAgentEndsItsPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, line := range []string{"{\n", `{"plan":{"ballast":-1},"seq":2}` + "\n", `{"plan":{"calls":[{"share":2}]},"seq":2}` + "\n"} {
			a := newAgent(t)
			i := a.follow()
			a.accept()
			a.plan(1, to(Shape{CutOut: true}))
			if _, err := a.c.Write([]byte(line)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if i.plan.Load().something() {
				t.Errorf("the plan is still in force after %q", line)
			}
			i.Close()
		}
	})
}

func TestFollowOverASocket(t *testing.T) {
	if Follow("", Hello{}, Saying{}, nil) != nil {
		t.Error("follows nobody")
	}
	path := filepath.Join(t.TempDir(), "a")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	i := Follow(path, Hello{Service: "orders", Instance: "orders-1", PID: 7}, Saying{Stats: func() Stats { return Stats{} }}, slog.New(slog.DiscardHandler))
	defer i.Close()
	a := &agent{t: t, lis: lis}
	a.accept()
	a.plan(1, to(Shape{CutOut: true}))
	if !i.plan.Load().something() {
		t.Error("no plan")
	}
}
