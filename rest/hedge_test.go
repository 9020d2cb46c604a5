package rest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
)

// hedging lets nothing but a hedge save a call from an instance that does not answer.
var hedging = resilience.Policy{
	Timeout:        5 * time.Second,
	AttemptTimeout: -1,
	Hedge:          resilience.HedgePolicy{Share: 1, Delay: 20 * time.Millisecond},
}

// straggler is an instance that answers at once until it is told not to.
type straggler struct {
	slow     atomic.Bool
	begun    atomic.Int64 // slow requests
	canceled atomic.Int64 // of these, those whose caller went away
	release  chan struct{}
}

func (w *world) straggler(id string) *straggler {
	s := &straggler{release: make(chan struct{})}
	w.serve(id, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if s.slow.Load() {
			s.begun.Add(1)
			select {
			case <-r.Context().Done():
				s.canceled.Add(1)
				return
			case <-s.release:
			}
		}
		rw.Header().Set("Attempt", r.Header.Get(HeaderAttempt))
		_, _ = io.WriteString(rw, id+":"+string(body))
	}), ServerConfig{})
	return s
}

// warm makes the latency of the requests known.
func warm(t *testing.T, client *http.Client, c call) {
	t.Helper()
	for range 40 {
		if status, _, err := send(client, c.request(t, t.Context())); err != nil || status != http.StatusOK {
			t.Fatal(status, err)
		}
	}
	g, err := client.Transport.(*Transport).follow("shop")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the latency is known", func() bool {
		exact, _ := g.terms.latency.of(c.method, c.path)
		return exact.Summary(time.Now()).Known()
	})
}

func TestStragglerIsOvertakenByAHedge(t *testing.T) {
	w := newWorld(t)
	a := w.straggler("a")
	w.good("b")
	client := w.client(ClientConfig{Policy: hedging})
	get := call{method: http.MethodGet, path: "/x"}
	warm(t, client, get)
	a.slow.Store(true)
	for n := range int64(5) {
		begun := time.Now()
		resp, err := client.Do(get.request(t, t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(body) != "b:" || err != nil || resp.Header.Get("Attempt") != "1" || resp.Request.URL.Host != "shop" {
			t.Errorf("%q %v, attempt %q", body, err, resp.Header.Get("Attempt"))
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		eventually(t, "the attempt that lost is cancelled", func() bool { return a.canceled.Load() == n+1 })
	}
	if n := inFlight(t, client); n != 0 {
		t.Errorf("%d attempts are counted as under way", n)
	}
}

func inFlight(t *testing.T, client *http.Client) (n int) {
	t.Helper()
	g, err := client.Transport.(*Transport).follow("shop")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range g.now.Load().peers {
		n += p.node.InFlight()
	}
	return n
}

// What is answered late but first is the answer; the hedge is the one to be cancelled.
func TestFirstAnswerCountsWhoeverGivesIt(t *testing.T) {
	w := newWorld(t)
	a, b := w.straggler("a"), w.straggler("b")
	client := w.client(ClientConfig{Policy: hedging})
	get := call{method: http.MethodGet, path: "/x"}
	warm(t, client, get)
	a.slow.Store(true)
	b.slow.Store(true)
	go func() {
		eventually(t, "the hedge is there", func() bool { return b.begun.Load() == 1 })
		close(a.release)
	}()
	status, body, err := send(client, get.request(t, t.Context()))
	if status != http.StatusOK || body != "a:" || err != nil {
		t.Errorf("%d %q %v", status, body, err)
	}
	eventually(t, "the hedge is cancelled", func() bool { return b.canceled.Load() == 1 })
}

func TestWhatIsNotHedged(t *testing.T) {
	for _, tt := range []struct {
		name   string
		call   call
		ctx    func(context.Context) context.Context
		header [2]string
		cfg    ClientConfig
		hedged bool
	}{
		{name: "get", call: call{method: "GET"}, hedged: true},
		{name: "head", call: call{method: "HEAD"}, hedged: true},
		{name: "options", call: call{method: "OPTIONS"}, hedged: true},
		{name: "put", call: call{method: "PUT"}},
		{name: "delete", call: call{method: "DELETE"}},
		{name: "post", call: call{method: "POST", body: "x"}},
		{name: "post with a key", call: call{method: "POST", body: "x", key: "k"}},
		{
			name: "put, declared", call: call{method: "PUT", body: "x"}, hedged: true,
			cfg: ClientConfig{Methods: map[string]policy.Method{"PUT /x": {Hedge: hedging.Hedge}}},
		},
		{
			name: "post, declared safe", call: call{method: "POST", body: "x"}, hedged: true,
			cfg: ClientConfig{Methods: map[string]policy.Method{"POST /x": {Safe: policy.SafeAlways, Hedge: hedging.Hedge}}},
		},
		{
			name: "post with a key, declared", call: call{method: "POST", body: "x", key: "k"},
			cfg: ClientConfig{Methods: map[string]policy.Method{"POST /x": {Safe: policy.SafeKeyed, Hedge: hedging.Hedge}}},
		},
		{
			name: "post, declared but not safe", call: call{method: "POST", body: "x"},
			cfg: ClientConfig{Methods: map[string]policy.Method{"POST /x": {Hedge: hedging.Hedge}}},
		},
		{
			name: "get, declared unsafe", call: call{method: "GET"},
			cfg: ClientConfig{Methods: map[string]policy.Method{"GET /": {Safe: policy.SafeNever}}},
		},
		{
			name: "get, switched off", call: call{method: "GET"},
			cfg: ClientConfig{Methods: map[string]policy.Method{"/": {Hedge: resilience.HedgePolicy{Share: -1}}}},
		},
		{name: "upgrade", call: call{method: "GET"}, header: [2]string{"Upgrade", "parrot"}},
		{name: "events", call: call{method: "GET"}, header: [2]string{"Accept", "text/event-stream"}},
		{
			name: "sheddable", call: call{method: "GET"},
			ctx: func(ctx context.Context) context.Context {
				return resilience.WithCriticality(ctx, resilience.SheddablePlus)
			},
		},
		{
			name: "critical plus", call: call{method: "GET"}, hedged: true,
			ctx: func(ctx context.Context) context.Context {
				return resilience.WithCriticality(ctx, resilience.CriticalPlus)
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a, b := w.straggler("a"), w.straggler("b")
			tt.cfg.Policy = hedging
			client := w.client(tt.cfg)
			tt.call.path = "/x"
			warm(t, client, tt.call)
			a.slow.Store(true)
			b.slow.Store(true)
			ctx := t.Context()
			if tt.ctx != nil {
				ctx = tt.ctx(ctx)
			}
			req := tt.call.request(t, ctx)
			if tt.header[0] != "" {
				req.Header.Set(tt.header[0], tt.header[1])
			}
			done := make(chan error, 1)
			go func() {
				status, body, err := send(client, req)
				if want := "a:" + tt.call.body; err == nil && (status != http.StatusOK || body != want && tt.call.method != "HEAD") {
					err = fmt.Errorf("%d %q", status, body)
				}
				done <- err
			}()
			eventually(t, "the first attempt is there", func() bool { return a.begun.Load() == 1 })
			if tt.hedged {
				eventually(t, "the hedge is there", func() bool { return b.begun.Load() == 1 })
			} else {
				late := time.NewTimer(3 * hedging.Hedge.Delay)
				<-late.C
			}
			close(a.release)
			if err := <-done; err != nil {
				t.Error(err)
			}
			if n := b.begun.Load(); (n == 1) != tt.hedged {
				t.Errorf("%d hedges", n)
			}
		})
	}
}

func TestOneInstanceIsNotItsOwnHedge(t *testing.T) {
	w := newWorld(t)
	a := w.straggler("a")
	client := w.client(ClientConfig{Policy: hedging})
	get := call{method: http.MethodGet, path: "/x"}
	warm(t, client, get)
	a.slow.Store(true)
	done := make(chan error, 1)
	go func() {
		_, _, err := send(client, get.request(t, t.Context()))
		done <- err
	}()
	late := time.NewTimer(3 * hedging.Hedge.Delay)
	<-late.C
	close(a.release)
	if err := <-done; err != nil || a.begun.Load() != 1 {
		t.Errorf("%v, %d requests", err, a.begun.Load())
	}
}

// The end of one of the two is not the end of the call while the other one is under way.
func TestHedgeThatFailsIsNotTheEndOfTheCall(t *testing.T) {
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprint("the first fails first: ", first), func(t *testing.T) {
			w := newWorld(t)
			var slow atomic.Bool
			meet, fail := make(chan struct{}, 2), make(chan struct{})
			instance := func(id string, fails bool) {
				w.serve(id, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
					if slow.Load() {
						meet <- struct{}{}
						<-fail
						if fails {
							rw.WriteHeader(http.StatusServiceUnavailable)
							return
						}
						late := time.NewTimer(50 * time.Millisecond)
						<-late.C
					}
					_, _ = io.WriteString(rw, id)
				}), ServerConfig{})
			}
			instance("a", first)
			instance("b", !first)
			client := w.client(ClientConfig{Policy: hedging})
			get := call{method: http.MethodGet, path: "/x"}
			warm(t, client, get)
			slow.Store(true)
			go func() {
				<-meet
				<-meet
				close(fail)
			}()
			status, body, err := send(client, get.request(t, t.Context()))
			if want := map[bool]string{true: "b", false: "a"}[first]; status != http.StatusOK || body != want || err != nil {
				t.Errorf("%d %q %v, want %q", status, body, err, want)
			}
		})
	}
}

func TestErrorTellsOfBothAttempts(t *testing.T) {
	w := newWorld(t)
	w.good("a")
	client := w.client(ClientConfig{Policy: resilience.Policy{
		Timeout: time.Second, AttemptTimeout: -1, Hedge: hedging.Hedge,
	}})
	get := call{method: http.MethodGet, path: "/x"}
	warm(t, client, get)
	ice := rawServer(t, frozen)
	w.add("A", ice.addr()) // before "a"
	w.engine.DeleteKey("shop", "a")
	other := rawServer(t, frozen)
	w.add("B", other.addr())
	g, _ := client.Transport.(*Transport).follow("shop")
	eventually(t, "the frozen ones are known", func() bool { return len(g.now.Load().peers) == 2 })
	_, _, err := send(client, get.request(t, t.Context()))
	e := callError(t, err)
	if len(e.Attempts) != 2 || e.Attempts[0].Hedge == e.Attempts[1].Hedge || failure.CodeOf(err) != failure.DeadlineExceeded {
		t.Errorf("error %v", err)
	}
}
