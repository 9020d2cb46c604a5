package rest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/holdfast-go/holdfast/admission"
)

// ErrStopping is the cause (context.Cause) of a streaming request's context that ended because the server stops.
var ErrStopping = errors.New("rest: server is stopping")

const (
	// streamWrite is how long one write of a stream may take: whoever reads nothing for so long is gone.
	streamWrite = 30 * time.Second
	// streamEnd is the same once the server stops, and how long a body is waited for then.
	streamEnd = 5 * time.Second
	// streamPart is how much of a file is one write.
	streamPart = 256 << 10
)

// Stream lifts the deadline from a request whose answer is meant to go on, such as server-sent events or a large
// download, and returns the request to go on with. Its context keeps the values of r's and ends when the client goes
// away or the server stops, whichever is first; the latter with the cause ErrStopping. It ends with the handler as well.
//
// A client that stops reading holds nothing for long: a write that takes more than 30 s fails, and one that takes more than 5 s after
// the server began to stop, as does reading a body that does not come by then. A handler that sets write deadlines of its own, by
// http.ResponseController, has only those until the server stops.
//
// Without Stream the deadline covers the whole answer, and a handler that flushes or hijacks is held to it as well: flushing
// early says nothing about how long a handler is meant to run. Outside a Handler made by Wrap, Stream returns r.
func Stream(w http.ResponseWriter, r *http.Request) *http.Request {
	x, ok := r.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return r
	}
	// A writer that has no deadlines has none to lift.
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})

	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	stopBase := context.AfterFunc(x.base, func() { cancel(context.Cause(x.base)) })
	stopStreams := context.AfterFunc(x.handler.streams, func() {
		cancel(ErrStopping)
		x.hasten()
	})
	x.leave(x.handler.gate, admission.Failed) // how long it takes from here says nothing about the server
	x.mu.Lock()
	x.stream = true
	x.ends = append(x.ends, func() {
		stopBase()
		stopStreams()
		cancel(context.Canceled)
	})
	x.mu.Unlock()
	return r.WithContext(ctx)
}

// hasten gives what a stream does to its connection streamEnd from now on: its handler cannot see that it is to end while it waits
// for a client.
func (x *exchange) hasten() {
	x.mu.Lock()
	defer x.mu.Unlock()
	at := time.Now().Add(streamEnd)
	switch {
	case x.over: // the writer is somebody else's
	case x.conn != nil:
		_ = x.conn.SetDeadline(at)
	default: // a writer without deadlines has none to set
		_ = x.rc.SetReadDeadline(at)
		_ = x.rc.SetWriteDeadline(at)
	}
}

// taken is called when the handler has taken the connection.
func (x *exchange) taken(conn net.Conn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.conn = conn; x.stream && x.handler.streams.Err() != nil {
		_ = conn.SetDeadline(time.Now().Add(streamEnd))
	}
}

// writes is called before something is written; if it is something of a stream, wrote is to be called afterwards.
func (x *exchange) writes() bool {
	if x == nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.stream || x.own {
		return false
	}
	most := streamWrite
	if x.handler.streams.Err() != nil {
		most = streamEnd
	}
	_ = x.rc.SetWriteDeadline(time.Now().Add(most))
	return true
}

// wrote takes the deadline of a write away: in HTTP/2 it would end the stream though nothing is written, and on the same connection
// of HTTP/1 it would be that of the next request.
func (x *exchange) wrote() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.handler.streams.Err() == nil {
		_ = x.rc.SetWriteDeadline(time.Time{})
	}
}
