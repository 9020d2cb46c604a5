package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// pipes is a server without a network. serve answers a connection until it returns.
type pipes struct {
	serve  func(c net.Conn)
	lags   bool // their ends are noticed late
	served sync.WaitGroup
}

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p.served.Go(func() {
		defer theirs.Close()
		p.serve(theirs)
	})
	if p.lags {
		return &lagging{Conn: ours, gone: make(chan struct{})}, nil
	}
	return ours, nil
}

// calls makes each kind of call so many times, and returns what became of them and how many requests came.
func (p *pipes) calls(t *testing.T, call Call, times int) (out []Sample) {
	t.Helper()
	through := newTransport(p.dial)
	defer p.served.Wait()
	defer through.next.CloseIdleConnections()
	c := NewCaller(Target{Edges: map[string]string{"e": "http://e"}, HTTP: through})
	prepared, err := c.Prepare(t.Context(), nil, call)
	if err != nil {
		t.Fatal(err)
	}
	for range times {
		out = append(out, prepared.Do(t.Context(), Draw{}, nil))
		synctest.Wait() // the connection is idle, or its end is noticed
	}
	return out
}

var kindsOfCalls = []Call{
	{Name: "get", Path: "/"},
	{Name: "get with a key", Path: "/", Key: "k"},
	{Name: "post", Method: "POST", Path: "/", Body: map[string]any{"a": 1}},
	{Name: "post with a key", Method: "POST", Path: "/", Key: "k", Body: map[string]any{"a": 1}},
	{Name: "post with a key of its own", Method: "POST", Path: "/", Header: map[string]string{"x-idempotency-key": "k"}},
}

// A server that dies with a request in its hands has lost it: that is what a drill is to see.
func TestACallIsSentOnce(t *testing.T) {
	t.Parallel()
	for _, call := range kindsOfCalls {
		t.Run(call.Name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var got, keys atomic.Int32
				p := &pipes{serve: func(c net.Conn) {
					in := bufio.NewReader(c)
					for n := 0; ; n++ {
						r, err := http.ReadRequest(in)
						if err != nil {
							return
						}
						_, _ = io.Copy(io.Discard, r.Body)
						got.Add(1)
						if r.Header.Get("Idempotency-Key") == "k" || r.Header.Get("X-Idempotency-Key") == "k" {
							keys.Add(1)
						}
						if n == 1 {
							return
						}
						_, _ = fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
					}
				}}
				for i, s := range p.calls(t, call, 4) {
					if want := []Outcome{OK, Failed}[i%2]; s.Outcome != want {
						t.Errorf("call %d is %s: %s", i, s.Outcome, s.Error)
					}
				}
				if got.Load() != 4 {
					t.Errorf("4 calls were sent %d times", got.Load())
				}
				if want := call.Key != "" || call.Header != nil; keys.Load() != 0 != want {
					t.Errorf("%d of 4 requests had the key", keys.Load())
				}
			})
		})
	}
}

// lagging is a connection whose end is not noticed until it is written to.
type lagging struct {
	net.Conn
	once sync.Once
	gone chan struct{}
}

func (l *lagging) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if err != nil {
		<-l.gone
	}
	return n, err
}

func (l *lagging) Write(b []byte) (int, error) {
	n, err := l.Conn.Write(b)
	if err != nil {
		l.once.Do(func() { close(l.gone) })
	}
	return n, err
}

func (l *lagging) Close() error {
	l.once.Do(func() { close(l.gone) })
	return l.Conn.Close()
}

// What was never sent is no call that was lost.
func TestWhatWasNotSentIsSent(t *testing.T) {
	t.Parallel()
	for _, call := range kindsOfCalls {
		t.Run(call.Name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &pipes{lags: true, serve: func(c net.Conn) { // it closes what is idle
					r, err := http.ReadRequest(bufio.NewReader(c))
					if err == nil {
						_, _ = io.Copy(io.Discard, r.Body)
						_, _ = fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
					}
				}}
				for i, s := range p.calls(t, call, 3) {
					if s.Outcome != OK {
						t.Errorf("call %d is %s: %s", i, s.Outcome, s.Error)
					}
				}
			})
		})
	}
}
