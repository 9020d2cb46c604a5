package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
)

var headerLoadProbe = textproto.CanonicalMIMEHeaderKey(balance.HeaderLoadProbe)

// gate is what a request passes before its handler: it reads what the request takes along, asks admission, and counts.
type gate struct {
	cfg        ServerConfig // with defaults
	controller *admission.Controller
	load       balance.Load

	once sync.Once
	body []byte // the answer to a request that is shed like many others

	// What the policy in force says, as of version.
	mu      sync.Mutex // held to change it
	version atomic.Uint64
	wait    atomic.Int64 // the timeout
}

func newGate(cfg ServerConfig) *gate {
	g := &gate{cfg: cfg, controller: admission.New(cfg.Admission)}
	g.wait.Store(int64(cfg.Timeout))
	return g
}

// pass is what a request that was let in has to give back.
type pass struct {
	inside bool
	ticket admission.Ticket
	before int // requests in the server when it came
	start  time.Time
}

// read returns what r takes along. Nothing in it is trusted.
func (g *gate) read(r *http.Request) resilience.Request {
	in := readRequest(r.Header)
	in.Criticality = min(in.Criticality, g.cfg.MaxCriticality)
	return in
}

// asked reports whether r asks for the server's load.
func asked(r *http.Request) bool {
	v := r.Header[headerLoadProbe]
	return len(v) == 1 && v[0] == "1"
}

// timeout is the longest a request may take.
func (g *gate) timeout() time.Duration {
	if g.cfg.Policies.Version() != g.version.Load() {
		g.follow()
	}
	return time.Duration(g.wait.Load())
}

// lengthen gives the connection the time that the policy in force gives the request, where the server was told less when it
// was made. Reads too: at the end of their time net/http takes the client for gone, and ends the request. The server sets
// both anew for the next request.
func (g *gate) lengthen(w http.ResponseWriter, r *http.Request) {
	own := g.timeout()
	if own == g.cfg.Timeout {
		return
	}
	s, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return
	}
	rc, now := http.NewResponseController(w), time.Now()
	set := func(has, want time.Duration, deadline func(time.Time) error) {
		switch { // an error is that of a writer without deadlines, which has none to lengthen
		case has <= 0 || own >= 0 && want <= has:
		case own < 0:
			_ = deadline(time.Time{})
		default:
			_ = deadline(now.Add(want))
		}
	}
	set(s.ReadTimeout, own+slack, rc.SetReadDeadline)
	set(s.WriteTimeout, own+2*slack, rc.SetWriteDeadline)
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

// enter asks for r to be let in; p is filled in if it is.
func (g *gate) enter(ctx context.Context, r *http.Request, in resilience.Request, p *pass) *failure.Error {
	ticket, err := g.controller.Admit(ctx, admission.Request{
		Method: r.Method, Path: section(r.URL.Path),
		Criticality: in.Criticality, Tenant: in.Tenant, Attempt: in.Attempt,
	})
	if err != nil {
		p.before, _ = g.load.Counts()
		return failure.From(err)
	}
	*p = pass{inside: true, ticket: ticket, before: g.load.Start(), start: time.Now()}
	return nil
}

// refuse answers a request that was not let in, at little cost if it is one of many.
func (g *gate) refuse(w http.ResponseWriter, r *http.Request, e *failure.Error) {
	after, ok := admission.Pushback(e)
	if !ok || after >= 0 {
		refuse(w, r, e)
		return
	}
	g.once.Do(func() { g.body, _ = json.Marshal(refusalOf(e)) })
	h := w.Header()
	h["Content-Type"] = []string{failure.ProblemType}
	h["Cache-Control"] = []string{"no-store"}
	h["Retry-After"] = []string{strconv.Itoa(int((e.RetryAfter-1)/time.Second) + 1)}
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write(g.body)
}

// section returns the beginning of a path, "/orders" of "/orders/17": which pattern it will match is not known before it
// has been routed.
func section(path string) string {
	if path == "" {
		return path
	}
	if i := strings.IndexByte(path[1:], '/'); i >= 0 {
		return path[:i+1]
	}
	return path
}

// leave counts the end of the request, once.
func (x *exchange) leave(g *gate, o admission.Outcome) {
	x.mu.Lock()
	p := x.pass
	x.pass.inside = false
	x.mu.Unlock()
	if p.inside {
		p.ticket.Done(o)
		g.load.Done(time.Now(), p.start, p.before, o == admission.Done)
	}
}

// outcome is how a request ended whose answer has the given status.
func outcome(ctx context.Context, status int) admission.Outcome {
	switch {
	case ctx.Err() != nil && status != 0 && status < http.StatusBadRequest: // the handler has not looked
		return admission.TooLate
	case ctx.Err() != nil:
		return admission.Late
	case status >= http.StatusBadRequest:
		return admission.Failed
	default:
		return admission.Done
	}
}
