package rest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/resilience"
)

// Handler is a wrapped http.Handler. It is safe for concurrent use.
type Handler struct {
	next     http.Handler
	cfg      ServerConfig // with defaults
	draining atomic.Bool
	active   atomic.Int64 // requests inside next
	gate     *gate
	streams  context.Context // ends when streaming handlers have to return
	stop     context.CancelCauseFunc
}

// Wrap returns h with the behaviours of this package: admission, deadline, recovery, body limit, drain. It keeps h as it is. A wrong
// value in cfg counts as its default or as what its field says: use cfg.Validate to know. The result fits any server:
//
//	http.ListenAndServe(addr, rest.Wrap(engine, rest.ServerConfig{}))
func Wrap(h http.Handler, cfg ServerConfig) *Handler {
	streams, stop := context.WithCancelCause(context.Background())
	cfg = cfg.withDefaults()
	return &Handler{next: h, cfg: cfg, gate: newGate(cfg), streams: streams, stop: stop}
}

// Drain makes every further answer carry "Connection: close" and the health path fail with 503, so that clients and load
// balancers go elsewhere. Requests are served as before. It returns at once and cannot be undone.
func (h *Handler) Drain() { h.draining.Store(true) }

// Draining reports whether Drain was called.
func (h *Handler) Draining() bool { return h.draining.Load() }

// EndStreams ends the contexts that Stream gave out, so that endless answers do not hold up a server that is being shut
// down. A Server does so by itself; with a server of your own, pass it to http.Server.RegisterOnShutdown.
func (h *Handler) EndStreams() { h.stop(ErrStopping) }

// Stats returns what is known of the load. Requests for the health path are not in it.
func (h *Handler) Stats() admission.Stats { return h.gate.controller.Stats() }

// Counts returns how many requests are being handled, and how many were, those that were turned away not counted, whether
// Admission is on or off. Requests for the health path are not counted.
func (h *Handler) Counts() (inFlight int, handled uint64) { return h.gate.load.Counts() }

// exchange is what this package knows of one request; it travels in the request's context.
type exchange struct {
	handler *Handler
	base    context.Context // as it came from the server: ends when the client goes away

	mu     sync.Mutex
	rc     *http.ResponseController // of what the server gave us
	stream bool                     // the deadline was lifted
	own    bool                     // the handler of a stream sets write deadlines of its own
	conn   net.Conn                 // what the handler has taken
	over   bool                     // the handler returned
	ends   []func()                 // called when the handler returned
	pass   pass

	watch   resilience.ServeObserver // nil: nobody
	route   string                   // guarded by mu, as is what follows
	failure error                    // that it was answered with
}

type exchangeKey struct{}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rw := &responseWriter{ResponseWriter: w, handler: h, asked: !h.cfg.Admission.Off && asked(r)}
	if r.URL.Path == h.cfg.HealthPath && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		h.health(rw, r)
		return
	}
	h.serve(rw, rw, r, false)
}

// serve runs next with all that surrounds it. out is what next writes to: rw, or something in front of it.
// exempt: it is let in whatever the load.
func (h *Handler) serve(rw *responseWriter, out http.ResponseWriter, r *http.Request, exempt bool) {
	h.active.Add(1)
	defer h.active.Add(-1)

	x := &exchange{handler: h, base: r.Context(), rc: http.NewResponseController(rw.ResponseWriter)}
	rw.exchange = x
	defer x.end()
	request := h.gate.read(r)
	ctx := resilience.WithRequest(context.WithValue(x.base, exchangeKey{}, x), request)
	d := h.timeout(r)
	if !exempt {
		ctx = x.observe(ctx, r, request, d)
	}
	if d >= 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	r = r.WithContext(ctx)
	rw.request, rw.direct = r, out == rw
	if x.watch != nil {
		defer func() { x.watch.End(x.ending(rw, r.Pattern)) }()
	}
	h.gate.lengthen(rw.ResponseWriter, r)
	hasBody := r.Body != nil && r.Body != http.NoBody
	if d, ok := ctx.Deadline(); ok && hasBody {
		// The context's end does not reach a handler that waits for a body which does not come. A moment later than
		// that end, which should be seen first. net/http sets a deadline of its own for the next request.
		_ = http.NewResponseController(rw.ResponseWriter).SetReadDeadline(d.Add(readGrace))
	}
	if !exempt {
		err := h.gate.enter(ctx, r, request, &x.pass)
		x.admitted(err)
		if err != nil {
			if hasBody {
				// net/http reads what is left of a small body before it sends the answer.
				_ = http.NewResponseController(rw.ResponseWriter).SetReadDeadline(time.Now().Add(readGrace))
			}
			h.gate.refuse(rw, r, err)
			return
		}
		defer func() { x.leave(h.gate, outcome(ctx, rw.status)) }()
	}

	if limit := h.cfg.MaxBodyBytes; limit >= 0 {
		if r.ContentLength > limit {
			// The rest of the body is on its way: it is cheaper to lose the connection than to read it.
			rw.Header().Set("Connection", "close")
			Error(rw, r, &http.MaxBytesError{Limit: limit})
			return
		}
		if hasBody {
			r.Body = http.MaxBytesReader(rw.ResponseWriter, r.Body, limit)
		}
	}
	if hasBody {
		body := &incomingBody{ReadCloser: r.Body}
		r.Body = body
		if r.Header.Get("Expect") != "" {
			defer body.linger(rw.ResponseWriter)
		}
	}

	err := lifecycle.Recover(func() error {
		h.next.ServeHTTP(out, r)
		return nil
	})
	if err != nil {
		var p *lifecycle.PanicError
		if !errors.As(err, &p) {
			p = &lifecycle.PanicError{Value: err}
		}
		Panicked(rw, r, rw.begun, p)
		return
	}
	if rw.begun || out != rw {
		return
	}
	if timeIsOver(ctx) && !x.streaming() {
		Error(rw, r, failure.New(failure.DeadlineExceeded, "the request took longer than its deadline"))
		return
	}
	if x.base.Err() != nil && !x.streaming() {
		// A client that has only ended its side of the connection still reads; and those who observe count what they see.
		Error(rw, r, failure.New(failure.Canceled, "the client went away before there was an answer"))
		return
	}
	rw.ok() // net/http writes an empty 200 by itself
}

// timeIsOver reports whether ctx has ended at its deadline, or later. Where a request has a body, the end of the reading comes a
// moment after the deadline, and of a process that was paused before it: net/http takes it for the client's.
func timeIsOver(ctx context.Context) bool {
	d, ok := ctx.Deadline()
	return errors.Is(ctx.Err(), context.DeadlineExceeded) || ok && ctx.Err() != nil && !time.Now().Before(d)
}

// readGrace is how long after its deadline, or after it was refused, a request's body is waited for.
const readGrace = 10 * time.Millisecond

// timeout is the time a request may take: the caller's wish within our own limit. Negative means no limit.
func (h *Handler) timeout(r *http.Request) time.Duration {
	own := h.gate.timeout()
	v := r.Header[HeaderTimeout]
	if len(v) != 1 {
		return own
	}
	wish, ok := ParseTimeout(v[0])
	if ok && (own < 0 || wish < own) {
		return wish
	}
	return own
}

// health answers the health path; see ServerConfig.HealthPath.
func (h *Handler) health(rw *responseWriter, r *http.Request) {
	if h.draining.Load() {
		Error(rw, r, failure.New(failure.Unavailable, "draining").WithRetryAfter(time.Second))
		return
	}
	if h.cfg.Starting != nil {
		select {
		case <-h.cfg.Starting:
		default:
			Error(rw, r, failure.New(failure.Unavailable, "starting").WithRetryAfter(time.Second))
			return
		}
	}
	probe := &probeWriter{to: rw, header: make(http.Header)}
	h.serve(rw, probe, r, true)
	if rw.begun {
		return
	}
	if !probe.begun && !probe.nothing {
		probe.WriteHeader(http.StatusOK)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("Cache-Control", "no-store")
	rw.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(rw, `{"status":"ok"}`+"\n")
}

// incomingBody gives the errors of a body a code: one that does not come, or not to its end, is the client's fault and not
// the handler's, which is likely to just return the error.
type incomingBody struct {
	io.ReadCloser
	ended atomic.Bool // read to its end
}

func (b *incomingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	if err == io.EOF {
		b.ended.Store(true)
		return n, err
	}
	return n, readError(err)
}

// linger makes the server read on for a moment after an answer that came before the end of the body, so that the client gets
// to see it and not a reset connection. net/http does so by itself, but not for a body that was announced with
// "Expect: 100-continue"; that a limit was hit is the one way to tell it.
func (b *incomingBody) linger(w http.ResponseWriter) {
	if !b.ended.Load() {
		_, _ = http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1))
	}
}

func (x *exchange) streaming() bool {
	if x == nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.stream
}

func (x *exchange) end() {
	x.mu.Lock()
	ends := x.ends
	x.ends, x.over = nil, true
	x.mu.Unlock()
	for _, f := range ends {
		f()
	}
}
