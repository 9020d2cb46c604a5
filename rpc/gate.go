package rpc

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
)

// gate is what a call passes before its handler: it reads what the call takes along, asks admission, and counts.
type gate struct {
	cfg        ServerConfig // with defaults
	highest    resilience.Criticality
	controller *admission.Controller
	load       balance.Load

	never metadata.MD // the pushback of a refusal that is for all instances
	once  sync.Once
	shed  error // its status

	// What the policy in force says, as of version.
	mu      sync.Mutex // held to change it
	version atomic.Uint64
	wait    atomic.Int64 // the timeout
}

func newGate(cfg ServerConfig) *gate {
	g := &gate{cfg: cfg, highest: resilience.CriticalPlus, controller: admission.New(cfg.Admission), never: metadata.Pairs(pushbackHeader, "-1")}
	if cfg.Untrusted {
		g.highest = resilience.Critical
	}
	g.wait.Store(int64(cfg.Timeout))
	return g
}

// incoming is one call at the gate.
type incoming struct {
	request resilience.Request
	exempt  bool // of those who look after the server, and not in its load
	asked   bool // for the load
	ticket  admission.Ticket
	inside  bool
	before  int // calls in the server when it came
	start   time.Time
	watch   resilience.ServeObserver // nil: nobody
}

// read returns what the call of ctx takes along. Nothing in it is trusted.
func (g *gate) read(ctx context.Context, method string) incoming {
	in := incoming{
		request: resilience.ParseRequest(
			single(ctx, resilience.HeaderCriticality), single(ctx, resilience.HeaderTenant), single(ctx, resilience.HeaderAttempt)),
		exempt: exempt(method),
		asked:  single(ctx, balance.HeaderLoadProbe) == "1",
	}
	in.request.Criticality = min(in.request.Criticality, g.highest)
	return in
}

// single returns the value of a key that came once, and "" for one that did not.
func single(ctx context.Context, key string) string {
	if v := metadata.ValueFromIncomingContext(ctx, key); len(v) == 1 {
		return v[0]
	}
	return ""
}

// exempt reports whether calls of method are always let in: somebody looks whether the server is there, which it is.
func exempt(method string) bool {
	return strings.HasPrefix(method, "/grpc.health.v1.Health/") || strings.HasPrefix(method, reflectionPrefix)
}

// timeout is the deadline of calls that came without one.
func (g *gate) timeout() time.Duration {
	if g.cfg.Policies.Version() != g.version.Load() {
		g.follow()
	}
	return time.Duration(g.wait.Load())
}

// follow makes the policy that is in force now that of this server.
func (g *gate) follow() {
	g.mu.Lock()
	defer g.mu.Unlock()
	version := g.cfg.Policies.Version()
	if version == g.version.Load() {
		return
	}
	timeout, rules := g.cfg.Timeout, g.cfg.Admission
	if p, _ := g.cfg.Policies.Service(g.cfg.Service); p != nil {
		if p.Serves.Timeout != 0 {
			timeout = p.Serves.Timeout
		}
		rules = policy.Overlay(rules, p.Serves.Admission)
	}
	g.controller.Configure(rules)
	g.wait.Store(int64(timeout))
	g.version.Store(version)
}

// enter asks for a unary call to be let in. Its error is what is answered, and costs little.
func (g *gate) enter(ctx context.Context, method string, in *incoming) error {
	if in.exempt {
		return nil
	}
	var err error
	in.ticket, err = g.controller.Admit(ctx, admission.Request{
		Method: method, Criticality: in.request.Criticality, Tenant: in.request.Tenant, Attempt: in.request.Attempt,
	})
	if err != nil {
		in.before, _ = g.load.Counts()
		return g.refuse(ctx, err)
	}
	in.inside = true
	in.start = time.Now()
	in.before = g.load.Start()
	return nil
}

// leave counts the end of a unary call, whose handler has returned err.
func (g *gate) leave(ctx context.Context, in *incoming, err error) {
	if in.inside {
		o := admission.Done
		switch {
		case err == nil && ctx.Err() != nil: // it has not looked
			o = admission.TooLate
		case ctx.Err() != nil:
			o = admission.Late
		case err != nil:
			o = admission.OutcomeOf(failure.CodeOf(err))
		}
		in.ticket.Done(o)
		g.load.Done(time.Now(), in.start, in.before, o == admission.Done)
	}
	if in.asked {
		// Not a header: that would commit the call, and grpc-go would not repeat it.
		_ = grpc.SetTrailer(ctx, metadata.Pairs(balance.HeaderLoad, g.load.Report(time.Now()).String()))
	}
}

// set asks for a stream to be let in. It waits its turn, and holds no place after that: how long a stream takes says
// nothing about the server.
func (g *gate) set(ctx context.Context, method string, in *incoming) error {
	g.timeout()
	if in.exempt {
		return nil
	}
	ticket, err := g.controller.Admit(ctx, admission.Request{
		Method: method, Criticality: in.request.Criticality, Tenant: in.request.Tenant, Attempt: in.request.Attempt,
	})
	if err != nil {
		return g.refuse(ctx, err)
	}
	ticket.Done(admission.Failed)
	return nil
}

// refuse returns the status for a refusal, and has it carry the pushback.
func (g *gate) refuse(ctx context.Context, err error) error {
	e := failure.From(err)
	after, ok := admission.Pushback(e)
	if ok && after < 0 {
		// The refusal that there are many of.
		_ = grpc.SetTrailer(ctx, g.never)
		g.once.Do(func() { g.shed = e.GRPCStatus().Err() })
		return g.shed
	}
	if ok {
		ms := (after + time.Millisecond - 1) / time.Millisecond
		_ = grpc.SetTrailer(ctx, metadata.Pairs(pushbackHeader, strconv.FormatInt(int64(ms), 10)))
	}
	return e.GRPCStatus().Err()
}
