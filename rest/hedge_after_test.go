package rest

import (
	"context"
	"errors"
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
			g, _ := client.Transport.(*Transport).follow("shop")
			before := g.terms.budget.Tokens(time.Now())
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
			if after := g.terms.budget.Tokens(time.Now()); after != before {
				t.Errorf("%v of %v tokens are left", after, before)
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
