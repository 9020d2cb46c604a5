package load

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// transport sends each request once. Go's own sends those that it holds to be safe again when a connection that it has used
// before dies under them: GETs, and all with an idempotency key. No other client would, and what a system has lost would not
// be seen. What was not sent at all is sent over another connection, as ever.
type transport struct {
	next *http.Transport
}

var errCutOff = errors.New("the connection was closed before there was an answer")

func newTransport(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *transport {
	return &transport{&http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &counted{Conn: c}, nil
		},
		MaxIdleConnsPerHost: 512,
		IdleConnTimeout:     30 * time.Second,
		TLSHandshakeTimeout: 5 * time.Second,
		DisableCompression:  true,
	}}
}

// RoundTrip makes the call, as [http.RoundTripper] says.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context()) // the call's, which ends with it
	var a attempt
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			if a.sent() {
				a.repeated = true
				cancel(errCutOff)
			}
		},
		GotConn: func(info httptrace.GotConnInfo) { a.begin(info.Conn) },
	})
	resp, err := t.next.RoundTrip(unmarked(r.WithContext(ctx)))
	if a.repeated {
		if err == nil {
			resp.Body.Close()
		}
		return nil, errCutOff
	}
	return resp, err
}

// unmarked returns the request with its idempotency key in a place where the transport does not look for one: the names of headers
// are written as they are here, and mean the same.
func unmarked(r *http.Request) *http.Request {
	r.Header = r.Header.Clone()
	for name, plain := range map[string]string{keyHeader: "idempotency-key", "X-" + keyHeader: "x-idempotency-key"} {
		if v, ok := r.Header[name]; ok {
			delete(r.Header, name)
			r.Header[plain] = v
		}
	}
	return r
}

// attempt is the connection that a request was given last, and what had been sent on it before. It is used by the goroutine
// that makes the request.
type attempt struct {
	conn     *counted // nil: none yet, or one that is not known
	before   int64
	repeated bool
}

func (a *attempt) begin(c net.Conn) {
	if inner, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = inner.NetConn()
	}
	if a.conn, _ = c.(*counted); a.conn != nil {
		a.before = a.conn.written.Load()
	}
}

// sent reports whether anything of the request has gone out.
func (a *attempt) sent() bool { return a.conn != nil && a.conn.written.Load() > a.before }

// counted counts what is written.
type counted struct {
	net.Conn
	written atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written.Add(int64(n))
	return n, err
}
