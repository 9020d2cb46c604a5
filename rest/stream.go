package rest

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/holdfast-go/holdfast/admission"
)

// ErrStopping is the cause (context.Cause) of a streaming request's context that ended because the server stops.
var ErrStopping = errors.New("rest: server is stopping")

// Stream lifts the deadline from a request whose answer is meant to go on, such as server-sent events or a large
// download, and returns the request to go on with. Its context keeps the values of r's and ends when the client goes
// away or the server stops, whichever is first; the latter with the cause ErrStopping. It ends with the handler as well.
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
	stopStreams := context.AfterFunc(x.handler.streams, func() { cancel(ErrStopping) })
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
