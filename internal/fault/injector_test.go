package fault

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestANilInjectorReturnsWhatItIsGiven(t *testing.T) {
	var i *Injector
	if i.Dial(nil) != nil {
		t.Error("a dialer")
	}
	lis := &listener{}
	if i.Listen(lis) != net.Listener(lis) {
		t.Error("another listener")
	}
	i.Set(Plan{Ballast: 1})
	if i.Call(t.Context(), "", "/a.B/C", false) != "" || i.File("write") != nil || i.Suffered() != 0 || i.Close() != nil {
		t.Error("it does something")
	}
}

// never is a dialer that must not be asked.
func never(t *testing.T) DialFunc {
	return func(context.Context, string, string) (net.Conn, error) {
		t.Error("it connects")
		return nil, net.ErrClosed
	}
}

func TestConnectingToWhereIsCutOffHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range []Shape{{CutOut: true}, {CutIn: true}} {
			i := New()
			i.Set(to(s))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			begun := time.Now()
			_, err := i.Dial(never(t))(ctx, "tcp", addr)
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(begun) != time.Minute {
				t.Errorf("%v after %v", err, time.Since(begun))
			}
			cancel()
			begun = time.Now()
			_, err = i.Dial(never(t))(t.Context(), "tcp", addr)
			if !errors.Is(err, syscall.ETIMEDOUT) || time.Since(begun) != synPatience {
				t.Errorf("without a deadline: %v after %v", err, time.Since(begun))
			}
		}
	})
}

func TestConnectingGoesOnWhenTheCutIsLifted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New()
		i.Set(to(Shape{CutOut: true}))
		time.AfterFunc(time.Second, func() { i.Set(Plan{Ballast: 1}) })
		begun := time.Now()
		c, err := i.Dial(func(context.Context, string, string) (net.Conn, error) {
			c, _ := net.Pipe()
			return c, nil
		})(t.Context(), "tcp", addr)
		if err != nil || time.Since(begun) != time.Second {
			t.Fatalf("%v after %v", err, time.Since(begun))
		}
		c.Close()
	})
}

func TestRefusedConnections(t *testing.T) {
	i := New()
	i.Set(to(Shape{Refuse: true}))
	if _, err := i.Dial(never(t))(t.Context(), "tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), addr) {
		t.Errorf("dial: %v", err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	i.Set(Plan{Accept: &Shape{Refuse: true}})
	accepted := make(chan net.Conn)
	go func() {
		c, err := i.Listen(lis).Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	c, err := net.Dial("tcp", lis.Addr().String())
	if err == nil {
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("connect and read: %v", err)
	}
	i.Set(Plan{})
	if c, err = net.Dial("tcp", lis.Addr().String()); err != nil {
		t.Fatal(err)
	}
	(<-accepted).Close()
	c.Close()
}

func TestAResetIsSeenByTheOtherEndToo(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	i := New()
	c, err := i.Dial(nil)(t.Context(), "tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	other, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	i.Set(Plan{Dial: []Link{{To: []string{"*"}, Shape: Shape{Reset: true}}}})
	if _, err := other.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v", err)
	}
}

func TestTheFirstRuleThatMatchesCounts(t *testing.T) {
	p := Plan{Dial: []Link{
		{To: []string{"a:1", "b:1"}, Shape: Shape{Delay: 1}}, {To: []string{"b:1"}, Shape: Shape{Delay: 2}}, {To: []string{"*"}, Shape: Shape{Delay: 3}},
	}}
	for addr, want := range map[string]time.Duration{"a:1": 1, "b:1": 1, "c:1": 3} {
		if got := p.link(addr).Delay; got != want {
			t.Errorf("%s: rule %d, not %d", addr, got, want)
		}
	}
}

func TestCallsThatSuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New()
		i.random = func() float64 { return 0.5 }
		i.Set(Plan{Calls: []Calls{
			{Methods: []string{"/shop.v1.Orders/Get"}, Share: 1, Code: "NOT_FOUND"},
			{Methods: []string{"GET /admin/"}, Share: 0.4, Code: "INTERNAL"},
			{Methods: []string{"POST /slow"}, Share: 1, Delay: time.Second},
			{Share: 0.6, Code: "UNAVAILABLE"},
		}})
		for _, c := range []struct {
			method, name string
			exempt       bool
			want         string
			wait         time.Duration
		}{
			{"", "/shop.v1.Orders/Get", false, "NOT_FOUND", 0},
			{"", "/shop.v1.Orders/Get", true, "NOT_FOUND", 0}, // it is named
			{"", "/shop.v1.Orders/GetAll", false, "UNAVAILABLE", 0},
			{"", "/grpc.health.v1.Health/Check", true, "", 0},
			{"GET", "/admin/x", false, "", 0}, // not of the share, and no later rule is asked
			{"PUT", "/admin/x", false, "UNAVAILABLE", 0},
			{"GET", "/healthz", true, "", 0},
			{"POST", "/slow/7", false, "", time.Second},
		} {
			begun := time.Now()
			got := i.Call(t.Context(), c.method, c.name, c.exempt)
			if got != c.want || time.Since(begun) != c.wait {
				t.Errorf("%s %s: %q after %v, want %q after %v", c.method, c.name, got, time.Since(begun), c.want, c.wait)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		begun := time.Now()
		i.Call(ctx, "POST", "/slow", false)
		if took := time.Since(begun); took != time.Millisecond {
			t.Errorf("the delay outlives its call by %v", took)
		}
	})
}

func TestFilesThatSuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := New()
		i.Set(Plan{Disk: &Disk{Full: true}})
		if err := i.File("write"); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("write: %v", err)
		}
		if err := errors.Join(i.File("sync"), i.File("remove")); err != nil {
			t.Error(err)
		}
		i.Set(Plan{Disk: &Disk{FailSync: true, SlowSync: time.Second}})
		begun := time.Now()
		if err := i.File("sync"); !errors.Is(err, syscall.EIO) || time.Since(begun) != time.Second {
			t.Errorf("sync: %v after %v", err, time.Since(begun))
		}
		if err := i.File("write"); err != nil {
			t.Error(err)
		}
		if i.Suffered() != 2 {
			t.Errorf("suffered %d", i.Suffered())
		}
	})
}

func TestBallastIsTakenAndGivenBack(t *testing.T) {
	i := New()
	i.Set(Plan{Ballast: 10_000})
	if len(i.ballast) != 10_000 || i.ballast[4096] != 1 {
		t.Error("not taken, or not written to")
	}
	i.Set(Plan{})
	if i.ballast != nil {
		t.Error("kept")
	}
}

func TestPlansThatAreWrong(t *testing.T) {
	for want, p := range map[string]Plan{
		"dial[0]: to: 0 addresses":                {Dial: []Link{{}}},
		`dial[0]: to: "here" is not HOST:PORT`:    {Dial: []Link{{To: []string{"here"}}}},
		"dial[0]: delay: -1ns":                    {Dial: []Link{{To: []string{"*"}, Shape: Shape{Delay: -1}}}},
		"accept: rate: -1":                        {Accept: &Shape{Rate: -1}},
		"accept: jitter":                          {Accept: &Shape{Jitter: time.Hour}},
		"accept: reset_every":                     {Accept: &Shape{ResetEvery: -1}},
		"calls[0]: share: 0":                      {Calls: []Calls{{}}},
		`calls[0]: code: "OOPS"`:                  {Calls: []Calls{{Share: 1, Code: "OOPS"}}},
		`calls[0]: methods: "Get" is neither`:     {Calls: []Calls{{Share: 1, Methods: []string{"Get"}}}},
		`calls[0]: methods: "GET api" is neither`: {Calls: []Calls{{Share: 1, Methods: []string{"GET api"}}}},
		"disk: slow_sync":                         {Disk: &Disk{SlowSync: -1}},
		"ballast: -1":                             {Ballast: -1},
		"more than 1000 rules":                    {Dial: make([]Link, 1001)},
	} {
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	good := Plan{
		Dial: []Link{{To: []string{"*", "[::1]:1"}, Shape: Shape{CutOut: true, Rate: 1}}}, Accept: &Shape{Delay: 1},
		Calls: []Calls{{Methods: []string{"/a.B/C", "GET /x"}, Share: 0.1, Code: "UNAVAILABLE"}}, Disk: &Disk{Full: true}, Ballast: 1,
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}

func TestAMessageIsBounded(t *testing.T) {
	if err := Write(io.Discard, Message{Hello: &Hello{Service: strings.Repeat("x", MaxMessage)}}); err == nil {
		t.Error("written")
	}
	long := strings.NewReader(`{"hello":{"service":"` + strings.Repeat("x", MaxMessage) + `"}}` + "\n")
	if _, err := NewReader(long).Read(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read: %v", err)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte(`{"hello":{"service":"orders","instance":"orders-1","pid":7}}` + "\n" + `{"ack":1}` + "\n"))
	f.Add([]byte(`{"plan":{"dial":[{"to":["*"],"cut_out":true,"delay":5}],"calls":[{"share":0.5,"code":"INTERNAL"}]},"seq":2}` + "\n"))
	f.Add([]byte("\n\n{}\nnull\n[]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		for {
			m, err := r.Read()
			if err != nil {
				return
			}
			var out bytes.Buffer
			if Write(&out, m) != nil {
				continue // escapes may make it longer than it came
			}
			again, err := NewReader(&out).Read()
			if err != nil {
				t.Fatalf("%+v does not come back: %v", m, err)
			}
			if m.Plan != nil && (again.Plan == nil || !slices.EqualFunc(m.Plan.Calls, again.Plan.Calls, func(a, b Calls) bool {
				return slices.Equal(a.Methods, b.Methods) && a.Share == b.Share && a.Delay == b.Delay && a.Code == b.Code
			})) {
				t.Fatalf("%+v comes back as %+v", m, again)
			}
		}
	})
}

// A client that was given one address of an engine goes on to those that the engine tells it.
func TestARuleForWhatConnectionsAreForFollowsThem(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0") // a broker that nobody has named
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	i := New()
	queue, other := Named(i.Dial, ToQueue)(nil), i.Dial(nil)
	var conns []net.Conn
	for _, dial := range []DialFunc{queue, other} {
		c, err := dial(t.Context(), "tcp", lis.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		end, err := lis.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer end.Close()
		conns = append(conns, c)
	}
	p := Plan{Dial: []Link{{To: []string{"10.0.0.1:9092", ToQueue}, Shape: Shape{Reset: true, Refuse: true}}}}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	i.Set(p)
	if _, err := conns[0].Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the queue's, that was open: %v", err)
	}
	if _, err := conns[1].Write([]byte("x")); err != nil {
		t.Errorf("another one's: %v", err)
	}
	if _, err := queue(t.Context(), "tcp", lis.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new one of the queue's: %v", err)
	}
	if c, err := other(t.Context(), "tcp", lis.Addr().String()); err != nil {
		t.Errorf("a new one of another: %v", err)
	} else {
		c.Close()
	}
	if Named(nil, ToQueue) != nil {
		t.Error("no platform, and something is wrapped")
	}
}
