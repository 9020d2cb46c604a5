package edge

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/resilience"
)

func TestWhatUsersSayOfThemselvesIsBounded(t *testing.T) {
	for _, tt := range []struct {
		cfg    Config
		header []string
		want   string // criticality, tenant, attempt, load probe
	}{
		{Config{}, nil, ",,,"},
		{Config{}, []string{"X-Criticality", "critical_plus", "X-Tenant", "acme", "X-Attempt", "3", "X-Load-Probe", "1"}, ",,,"},
		{Config{}, []string{"X-Criticality", "sheddable"}, "sheddable,,,"},
		{Config{}, []string{"X-Criticality", "SHEDDABLE"}, ",,,"},
		{Config{}, []string{"x-criticality", "sheddable", "X-CRITICALITY", "critical_plus"}, ",,,"},
		{Config{MaxCriticality: resilience.CriticalPlus}, []string{"X-Criticality", "critical_plus"}, "critical_plus,,,"},
		{Config{MaxCriticality: resilience.SheddablePlus}, []string{"X-Criticality", "critical"}, "sheddable_plus,,,"},
		{Config{MaxCriticality: resilience.SheddablePlus}, nil, "sheddable_plus,,,"},
		{Config{TrustTenant: true}, []string{"X-Tenant", "acme"}, ",acme,,"},
		{Config{TrustTenant: true}, []string{"X-Tenant", "a b"}, ",,,"},
	} {
		s := newSystem(t, tt.cfg)
		s.serve("a", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Load", "1,2")
			for _, h := range []string{"X-Criticality", "X-Tenant", "X-Attempt"} {
				_, _ = io.WriteString(w, strings.Join(r.Header.Values(h), "+")+",")
			}
			_, _ = io.WriteString(w, strings.Join(r.Header.Values("X-Load-Probe"), "+"))
		})
		a := s.do("GET", "/", "", tt.header...)
		if a.body != tt.want {
			t.Errorf("%v: the instance saw %q, want %q", tt.header, a.body, tt.want)
		}
		if a.Header.Get("X-Load") != "" {
			t.Error("users learn the load")
		}
	}
}

func FuzzClaims(f *testing.F) {
	f.Add("critical_plus", "acme", int8(0))
	f.Add("\xff", "", int8(-2))
	f.Add("sheddable", "../..", int8(1))
	f.Fuzz(func(t *testing.T, criticality, tenant string, most int8) {
		level := min(max(resilience.Criticality(most), resilience.Sheddable), resilience.CriticalPlus)
		h := http.Header{"X-Criticality": {criticality}, "X-Tenant": {tenant}, "X-Attempt": {criticality}}
		r := (&Edge{cfg: Config{MaxCriticality: level}}).claims(h)
		if r.Criticality > level || r.Criticality < resilience.Sheddable || r.Tenant != "" || r.Attempt != 0 {
			t.Errorf("%q %q: %+v", criticality, tenant, r)
		}
		r = (&Edge{cfg: Config{TrustTenant: true}}).claims(h)
		if r.Tenant != "" && !resilience.ValidTenant(r.Tenant) {
			t.Errorf("tenant %q", r.Tenant)
		}
	})
}

// shed is what an instance answers that has not begun with a request.
func shed(after time.Duration) func(w http.ResponseWriter, r *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		p := failure.ProblemOf(failure.New(failure.ResourceExhausted, "too busy").
			WithReason(failure.ReasonShed, failure.Domain).WithRetryAfter(after))
		p.Status = http.StatusServiceUnavailable
		_ = p.Write(w)
	}
}

func TestRefusalOfABusyServiceReachesTheUser(t *testing.T) {
	s := newSystem(t, Config{})
	s.serve("a", shed(3*time.Second))
	a := s.do("POST", "/", "x")
	a.want(t, 503, "too busy")
	if a.Header.Get("Retry-After") != "3" {
		t.Errorf("%v", a.Header)
	}
}

func TestRequestThatOneInstanceShedsIsTakenByAnother(t *testing.T) {
	s := newSystem(t, Config{})
	var hits atomic.Int64
	s.serve("a", func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		shed(0)(w, r)
	})
	s.serve("b", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	s.do("GET", "/", "") // both are known by now, or soon
	for range 30 {
		if a := s.do("POST", "/", "hello"); a.StatusCode != http.StatusOK && hits.Load() > 3 {
			a.want(t, 200, "hello")
		}
	}
	if hits.Load() == 0 {
		t.Error("the busy one was never asked")
	}
}

// What this edge holds back by itself is no fault of the user, as 429 would say.
func TestWhatTheEdgeHoldsBackIsA503(t *testing.T) {
	hold, held := make(chan struct{}), make(chan struct{})
	s := newSystem(t, Config{Policy: resilience.Policy{MaxInFlight: 1}})
	s.serve("a", func(http.ResponseWriter, *http.Request) {
		close(held)
		<-hold
	})
	done := make(chan answer, 1)
	go func() { done <- s.do("GET", "/", "") }()
	<-held
	a := s.do("GET", "/", "")
	a.want(t, 503, "busy")
	if a.Header.Get("Retry-After") != "1" {
		t.Errorf("%v", a.Header)
	}
	close(hold)
	(<-done).want(t, 200, "")
}

func TestConnectionsAreBounded(t *testing.T) {
	s := newSystem(t, Config{MaxConns: 4, MaxConnsPerClient: -1})
	s.serve("a", func(http.ResponseWriter, *http.Request) {})
	addr := s.edge.Addr().String()
	var open []net.Conn
	dial := func() net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	get := func(c net.Conn) (*http.Response, error) {
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return nil, err
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		return resp, err
	}
	for range 3 {
		c := dial()
		if resp, err := get(c); err != nil || resp.StatusCode != http.StatusOK || resp.Close {
			t.Fatal(resp, err)
		}
		open = append(open, c)
	}
	// The last ones are for those who have something to ask: none of them stays.
	for range 3 {
		ask := func() (*http.Response, error) {
			c := dial()
			defer c.Close()
			return get(c)
		}
		resp, err := ask()
		// The one before is gone a moment after it was answered.
		for until := time.Now().Add(5 * time.Second); (err != nil || resp.StatusCode != http.StatusOK) && time.Now().Before(until); {
			resp, err = ask()
		}
		if err != nil || resp.StatusCode != http.StatusOK || !resp.Close {
			t.Errorf("%v %v", resp, err)
		}
	}
	open = append(open, dial()) // says nothing
	deadline := time.Now().Add(5 * time.Second)
	for {
		resp, err := get(dial())
		if err == nil && resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") == "1" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a fifth connection is served: %v %v", resp, err)
		}
	}
	for _, c := range open {
		_ = c.Close()
	}
	for {
		if resp, err := get(dial()); err == nil && resp.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody is let in after others left")
		}
	}
}

// In all and of one client, never more are inside than may be, and whoever left makes room.
func TestGateCountsWhoIsInside(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most, each := rapid.IntRange(0, 6).Draw(t, "max"), rapid.IntRange(0, 3).Draw(t, "each")
		g := newGate(nil, most, each, true)
		inside := map[netip.Addr]int{}
		total := 0
		clients := []netip.Addr{
			netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::"),
			netip.MustParseAddr("127.0.0.1"),
			{},
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			c := clients[rapid.IntRange(0, len(clients)-1).Draw(t, "client")]
			if inside[c] > 0 && rapid.Bool().Draw(t, "leaves") {
				g.leave(c)
				inside[c]--
				total--
				continue
			}
			counted := each > 0 && c.IsValid() && !c.IsLoopback()
			want := (most == 0 || total < most) && (!counted || inside[c] < each)
			if got := g.enter(c); got != want {
				t.Fatalf("%v is let in: %v, with %d of it and %d in all", c, got, inside[c], total)
			}
			if want {
				inside[c]++
				total++
			}
		}
		for c, n := range inside {
			for range n {
				g.leave(c)
			}
		}
		if g.total != 0 || len(g.clients) != 0 {
			t.Fatalf("%d inside, %v kept when all have left", g.total, g.clients)
		}
	})
}

func TestClientsAreToldApartByTheirNetwork(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:99":              "192.0.2.1",
		"[::ffff:192.0.2.1]:99":     "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:99": "2001:db8:1:2::",
		"[2001:db8:1:2:ff::1]:1":    "2001:db8:1:2::",
		"[fe80::1%eth0]:1":          "fe80::",
		"[::1]:1":                   "::1",
	} {
		ap := netip.MustParseAddrPort(addr)
		if got := clientOf(net.TCPAddrFromAddrPort(ap)); got.String() != want {
			t.Errorf("%s is %s, want %s", addr, got, want)
		}
	}
	if clientOf(&net.UnixAddr{Name: "x"}).IsValid() {
		t.Error("a socket without an address has one")
	}
}

// crowd is a listener with connections from anywhere.
type crowd struct {
	net.Listener
	from []string
}

func (c *crowd) Accept() (net.Conn, error) {
	if len(c.from) == 0 {
		return nil, errors.New("that is all")
	}
	a, b := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, b) }()
	from := c.from[0]
	c.from = c.from[1:]
	return &stranger{Conn: a, addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))}, nil
}

type stranger struct {
	net.Conn
	addr net.Addr
}

func (s *stranger) RemoteAddr() net.Addr { return s.addr }

func TestOneClientDoesNotKeepOutOthers(t *testing.T) {
	var from []string
	for i := range 20 {
		from = append(from, fmt.Sprintf("192.0.2.1:%d", 1000+i))
	}
	from = append(from, "192.0.2.2:1", "[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1")
	g := newGate(&crowd{from: from}, 10, 2, true)
	var let []string
	var conns []net.Conn
	for {
		c, err := g.Accept()
		if err != nil {
			break
		}
		let, conns = append(let, c.RemoteAddr().(*net.TCPAddr).IP.String()), append(conns, c)
	}
	g.wait()
	if got := strings.Join(let, " "); got != "192.0.2.1 192.0.2.1 192.0.2.2 2001:db8::1 2001:db8::2" {
		t.Errorf("let in: %s", got)
	}
	var closing sync.WaitGroup
	for _, c := range conns {
		closing.Go(func() { _ = c.Close(); _ = c.Close() })
	}
	closing.Wait()
	if g.total != 0 || len(g.clients) != 0 {
		t.Errorf("%d are inside when all have left", g.total)
	}
}
