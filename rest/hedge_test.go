package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lifecycle"
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
		Timeout: 300 * time.Millisecond, AttemptTimeout: -1, Hedge: hedging.Hedge,
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

// stubborn picks the first node, tried or not.
type stubborn struct{}

func (stubborn) Pick([]*balance.Node, balance.Call) int { return 0 }

// touchy panics where it is to pick another one.
type touchy struct{}

func (touchy) Pick(_ []*balance.Node, c balance.Call) int {
	if len(c.Tried) > 0 {
		panic("another one")
	}
	return 0
}

// A hedge is made in a goroutine in which nobody could contain what panics.
func TestHedgeThatPanicsIsTheEndOfItsCallOnly(t *testing.T) {
	second := func() func() {
		var n atomic.Int64
		return func() {
			if n.Add(1) > 1 {
				panic("once more")
			}
		}
	}
	for name, tt := range map[string]struct {
		picker func() balance.Picker
		ctx    func(context.Context) context.Context
		body   bool
	}{
		"GetBody": {body: true},
		"Picker":  {picker: func() balance.Picker { return touchy{} }},
		"httptrace": {ctx: func(ctx context.Context) context.Context {
			hook := second()
			return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GetConn: func(string) { hook() }})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.straggler("a")
			w.good("b")
			client := w.client(ClientConfig{Policy: hedging, Balance: balance.Config{Picker: tt.picker}})
			known(t, client, 2)
			get := call{method: http.MethodGet, path: "/x"}
			warm(t, client, get)
			a.slow.Store(true)
			ctx := t.Context()
			if tt.ctx != nil {
				ctx = tt.ctx(ctx)
			}
			req := get.request(t, ctx)
			if tt.body {
				req.Body, req.ContentLength = io.NopCloser(strings.NewReader("x")), 1
				req.GetBody = func() (io.ReadCloser, error) { panic("once more") }
			}
			begun := time.Now()
			_, _, err := send(client, req)
			var p *lifecycle.PanicError
			if failure.CodeOf(err) != failure.Internal || !errors.As(err, &p) || len(p.Stack) == 0 {
				t.Errorf("error %v", err)
			}
			if took := time.Since(begun); took > 2*time.Second {
				t.Errorf("took %v", took)
			}
			eventually(t, "the other attempt is cancelled", func() bool { return a.canceled.Load() == 1 })
			if n := inFlight(t, client); n != 0 {
				t.Errorf("%d attempts are counted as under way", n)
			}
		})
	}
}

// What panics in RoundTrip is the caller's, who may contain it.
func TestPanicInRoundTripLeavesNothingBehind(t *testing.T) {
	w := newWorld(t)
	w.good("a")
	client := w.client(ClientConfig{Policy: resilience.Policy{MaxInFlight: 1}})
	known(t, client, 1)
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GetConn: func(string) { panic("mine") }})
	err := lifecycle.Recover(func() error {
		_, _, err := send(client, call{method: http.MethodGet}.request(t, ctx))
		return err
	})
	var p *lifecycle.PanicError
	if !errors.As(err, &p) || p.Value != "mine" {
		t.Errorf("error %v", err)
	}
	g, _ := client.Transport.(*Transport).follow("shop")
	if n, calls := inFlight(t, client), g.terms.guard.InFlight(); n != 0 || calls != 0 {
		t.Errorf("%d attempts and %d calls are counted as under way", n, calls)
	}
	if took, known := g.now.Load().peers[0].node.Latency(time.Now()); known {
		t.Errorf("the instance has a latency of %v", took)
	}
}

// That a hedge was not answered is news of its instance only if it could have been.
func TestHedgeThatIsLostEarlySaysNothingOfItsInstance(t *testing.T) {
	for _, tt := range []struct {
		usual time.Duration
		known bool
	}{
		{time.Second, false},
		{time.Microsecond, true},
	} {
		t.Run(tt.usual.String(), func(t *testing.T) {
			w := newWorld(t)
			a, b := w.straggler("a"), w.straggler("b")
			a.slow.Store(true)
			b.slow.Store(true)
			client := w.client(ClientConfig{Policy: hedging})
			known(t, client, 2)
			g, _ := client.Transport.(*Transport).follow("shop")
			get := call{method: http.MethodGet, path: "/x"}
			exact, _ := g.terms.latency.of(get.method, get.path)
			for range 100 {
				exact.Observe(time.Now(), tt.usual, balance.Latency)
			}
			eventually(t, "the latency is known", func() bool { return exact.Summary(time.Now()).Known() })
			go func() {
				eventually(t, "the hedge is there", func() bool { return b.begun.Load() == 1 })
				close(a.release)
			}()
			if status, body, err := send(client, get.request(t, t.Context())); status != http.StatusOK || body != "a:" || err != nil {
				t.Fatal(status, body, err)
			}
			peers := g.now.Load().peers
			if took, known := peers[1].node.Latency(time.Now()); peers[1].id != "b" || known != tt.known {
				t.Errorf("%s has a latency of %v: %v, want %v", peers[1].id, took, known, tt.known)
			}
		})
	}
}

func TestHedgeThatIsNotMadeIsNotPaidFor(t *testing.T) {
	for name, tt := range map[string]struct {
		picker balance.Picker
		body   bool
	}{
		"nobody else is picked": {picker: stubborn{}},
		"no body":               {picker: inOrder{}, body: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.straggler("a")
			w.good("b")
			p := hedging
			p.Budget = resilience.BudgetPolicy{Ratio: -1, Floor: -1, Burst: 10}
			client := w.client(ClientConfig{Policy: p, Balance: balance.Config{Picker: func() balance.Picker { return tt.picker }}})
			known(t, client, 2)
			get := call{method: http.MethodGet, path: "/x"}
			warm(t, client, get)
			a.slow.Store(true)
			req := get.request(t, t.Context())
			asked := make(chan struct{})
			if tt.body {
				req.Body, req.ContentLength = io.NopCloser(strings.NewReader("x")), 1
				req.GetBody = func() (io.ReadCloser, error) { close(asked); return nil, errors.New("gone") }
			} else {
				close(asked)
			}
			done := make(chan error, 1)
			go func() {
				_, _, err := send(client, req)
				done <- err
			}()
			eventually(t, "the first attempt is there", func() bool { return a.begun.Load() == 1 })
			<-asked
			late := time.NewTimer(3 * hedging.Hedge.Delay)
			<-late.C
			close(a.release)
			if err := <-done; err != nil || a.begun.Load() != 1 {
				t.Errorf("%v, %d requests", err, a.begun.Load())
			}
			g, _ := client.Transport.(*Transport).follow("shop")
			if n := g.terms.budget.Tokens(time.Now()); n != 10 {
				t.Errorf("%v of 10 tokens are left", n)
			}
		})
	}
}

// Under any interleaving the caller gets one whole answer, of one instance, and nothing is left behind.
func TestHedgesUnderLoadLeaveNothingBehind(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a", "b", "c"} {
		w.serve(id, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if rand.IntN(3) == 0 {
				late := time.NewTimer(time.Duration(rand.IntN(4000)) * time.Microsecond)
				defer late.Stop()
				select {
				case <-late.C:
				case <-r.Context().Done():
					return
				}
			}
			body, _ := io.ReadAll(r.Body)
			rw.Header().Set("Instance", id)
			switch rand.IntN(20) {
			case 0:
				rw.WriteHeader(http.StatusServiceUnavailable)
				return
			case 1:
				panic(http.ErrAbortHandler)
			}
			_, _ = io.WriteString(rw, strings.Repeat(id, rand.IntN(20_000))+string(body))
		}), ServerConfig{})
	}
	p := hedging
	p.Hedge.Delay = time.Millisecond
	p.Budget = resilience.BudgetPolicy{Ratio: 1, Burst: 10_000}
	client := w.client(ClientConfig{Policy: p, Methods: map[string]policy.Method{"/": {Hedge: p.Hedge}}})
	var users sync.WaitGroup
	var ok, canceled atomic.Int64
	for range 8 {
		users.Go(func() {
			for n := range 40 {
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(10) == 0 {
					time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, cancel)
				}
				c := call{method: http.MethodGet, path: "/x"}
				if n%2 == 0 {
					c = call{method: http.MethodPut, path: "/x", body: "!"}
				}
				resp, err := client.Do(c.request(t, ctx))
				if err == nil {
					var body []byte
					body, err = io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					id := resp.Header.Get("Instance")
					if err == nil && resp.StatusCode == http.StatusOK {
						ok.Add(1)
						if strings.Trim(string(body), id) != c.body {
							t.Errorf("an answer of %s with somebody else's bytes", id)
						}
					}
				}
				if errors.Is(err, context.Canceled) {
					canceled.Add(1)
				}
				cancel()
			}
		})
	}
	users.Wait()
	if n := inFlight(t, client); n != 0 {
		t.Errorf("%d attempts are counted as under way", n)
	}
	if ok.Load() < 200 {
		t.Errorf("%d answers, %d calls canceled", ok.Load(), canceled.Load())
	}
}
