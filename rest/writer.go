package rest

import (
	"bufio"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/balance"
)

// responseWriter knows whether an answer has begun, and announces the end of the connection while draining. It has the
// optional interfaces that routers assert without asking (Gin panics without them) besides Unwrap.
type responseWriter struct {
	http.ResponseWriter
	handler  *Handler
	exchange *exchange     // nil: of no request that is served
	request  *http.Request // as the handler has it
	begun    bool          // a final status, or the connection itself, is out of our hands
	asked    bool          // for the load
	direct   bool          // the handler writes to it, with nothing between
	status   int           // the final one, 101 if the connection is somebody else's; 0: none yet
}

// Unwrap is for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// begin is called before anything of the answer is written.
func (w *responseWriter) begin() {
	if w.begun {
		return
	}
	w.begun = true
	if x := w.exchange; x != nil && x.watch != nil {
		// While it can still be told. What comes after this is not known to the caller.
		if why := x.watch.Keep(x.ending(w, w.request.Pattern)); why != "" {
			w.Header()[headerKeep] = []string{why}
		}
	}
	if w.asked {
		w.Header().Set(balance.HeaderLoad, w.handler.gate.load.Report(time.Now()).String())
	}
	if w.handler.draining.Load() {
		// For HTTP/2 net/http turns this into a GOAWAY.
		w.Header().Set("Connection", "close")
	}
}

// ok is called before a body is written: the status is 200, if none was.
func (w *responseWriter) ok() {
	if !w.begun {
		w.status = http.StatusOK
	}
	w.begin()
}

func (w *responseWriter) WriteHeader(status int) {
	switch {
	case status == http.StatusSwitchingProtocols:
		w.begun, w.status = true, status
	case status == http.StatusOK && !w.begun && w.gaveUp():
		return // net/http writes it when a body follows; if none does, serve says what it is
	case status >= http.StatusOK:
		if !w.begun {
			w.status = status
		}
		w.begin()
	}
	w.ResponseWriter.WriteHeader(status)
}

// gaveUp reports whether a 200 without anything more, which routers such as Gin write for a handler that wrote nothing, comes
// from one whose context has ended.
func (w *responseWriter) gaveUp() bool {
	h := w.Header()
	return w.direct && w.request.Context().Err() != nil && !w.exchange.streaming() &&
		h["Content-Type"] == nil && h["Content-Length"] == nil
}

func (w *responseWriter) Write(p []byte) (int, error) {
	w.ok()
	if w.exchange.writes() {
		defer w.exchange.wrote()
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom keeps sendfile working for handlers that copy files.
func (w *responseWriter) ReadFrom(src io.Reader) (int64, error) {
	w.ok()
	if !w.exchange.streaming() {
		return io.Copy(w.ResponseWriter, src)
	}
	all, limited := src.(*io.LimitedReader) // one within another would keep sendfile from working
	if !limited {
		all = &io.LimitedReader{R: src, N: math.MaxInt64}
	}
	if _, ok := all.R.(*os.File); !ok { // its source may take its time
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	for copied := int64(0); ; {
		part := &io.LimitedReader{R: all.R, N: min(all.N, streamPart)}
		n, err := w.readPart(part)
		copied += n
		all.N -= n
		if err != nil || part.N > 0 || all.N <= 0 {
			return copied, err
		}
	}
}

func (w *responseWriter) readPart(part *io.LimitedReader) (int64, error) {
	if w.exchange.writes() {
		defer w.exchange.wrote()
	}
	return io.Copy(w.ResponseWriter, part)
}

func (w *responseWriter) Flush() { _ = w.FlushError() }

func (w *responseWriter) FlushError() error {
	w.ok()
	if w.exchange.writes() {
		defer w.exchange.wrote()
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// SetWriteDeadline is for http.ResponseController.
func (w *responseWriter) SetWriteDeadline(at time.Time) error {
	if x := w.exchange; x != nil {
		x.mu.Lock()
		x.own = x.stream
		x.mu.Unlock()
	}
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(at)
}

func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.begun, w.status = true, http.StatusSwitchingProtocols
		if w.exchange != nil { // what follows is no request
			w.exchange.taken(conn)
			w.exchange.leave(w.handler.gate, admission.Failed)
		}
	}
	return conn, rw, err
}

// CloseNotify is deprecated in net/http but asserted by Gin's Stream.
func (w *responseWriter) CloseNotify() <-chan bool {
	if n, ok := w.ResponseWriter.(http.CloseNotifier); ok { //nolint:staticcheck // see above
		return n.CloseNotify()
	}
	return make(chan bool)
}

// probeWriter lets the health path find out whether the wrapped handler has an answer of its own: a 404 or 405 is held back.
// What comes before the status goes to a header of its own, so that nothing of a held back answer remains.
type probeWriter struct {
	to      *responseWriter
	header  http.Header
	begun   bool
	nothing bool // the handler has nothing at this path
}

func (w *probeWriter) Header() http.Header { return w.header }

func (w *probeWriter) WriteHeader(status int) {
	if w.begun || status < http.StatusOK {
		return
	}
	w.begun = true
	w.nothing = status == http.StatusNotFound || status == http.StatusMethodNotAllowed
	if w.nothing {
		return
	}
	h := w.to.Header()
	for k, v := range w.header {
		h[k] = v
	}
	w.header = h // trailers may follow
	w.to.WriteHeader(status)
}

func (w *probeWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.nothing {
		return len(p), nil
	}
	return w.to.Write(p)
}

func (w *probeWriter) Flush() {
	w.WriteHeader(http.StatusOK)
	if !w.nothing {
		w.to.Flush()
	}
}
