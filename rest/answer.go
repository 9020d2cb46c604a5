package rest

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/idempotency"
)

// answer is a whole answer, as it is kept for repetitions.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// final reports whether repetitions are to get a too.
func (a answer) final() bool {
	if a.status < http.StatusBadRequest {
		return true
	}
	e := failure.ReadProblem(&http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body))})
	return e != nil && idempotency.Final(e.Code) && e.RetryAfter <= 0
}

func (a answer) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	if a.status != http.StatusNoContent && a.status != http.StatusNotModified {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	if len(a.body) > 0 {
		_, _ = w.Write(a.body) // a client that is gone is nobody to tell
	}
}

// encode encodes a: the status, the number of header lines, name and value of each, and the body. Numbers are uvarints, and
// texts come after their length.
func (a answer) encode() []byte {
	var b []byte
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	b = binary.AppendUvarint(b, uint64(a.status)) //nolint:gosec // not negative
	lines := 0
	for _, values := range a.header {
		lines += len(values)
	}
	b = binary.AppendUvarint(b, uint64(lines)) //nolint:gosec // not negative
	for _, name := range slices.Sorted(maps.Keys(a.header)) {
		for _, value := range a.header[name] {
			text(name)
			text(value)
		}
	}
	return append(b, a.body...)
}

var errAnswer = errors.New("answer: not readable")

// parseAnswer is the inverse of encode. The body is part of data.
func parseAnswer(data []byte) (answer, error) {
	bad := false
	number := func() uint64 {
		n, size := binary.Uvarint(data)
		if size <= 0 {
			bad, data = true, nil
			return 0
		}
		data = data[size:]
		return n
	}
	text := func() string {
		n := number()
		if n > uint64(len(data)) {
			bad, data = true, nil
			return ""
		}
		s := string(data[:n])
		data = data[n:]
		return s
	}
	status := number()
	if bad || status < 200 || status > 599 {
		return answer{}, fmt.Errorf("%w: status %d", errAnswer, status)
	}
	a := answer{status: int(status), header: make(http.Header)}
	for range number() {
		name, value := text(), text()
		if bad {
			return answer{}, fmt.Errorf("%w: header", errAnswer)
		}
		a.header[name] = append(a.header[name], value)
	}
	if bad {
		return answer{}, fmt.Errorf("%w: too short", errAnswer)
	}
	a.body = data
	return a, nil
}

// notKept are the headers that are about one connection or one moment, and those that write makes itself.
var notKept = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Date", "Content-Length", HeaderReplayed,
}

// holdingWriter holds an answer back until it is complete, so that it can be kept before anybody is given it. One that is
// flushed, or grows beyond limit, goes out at once.
type holdingWriter struct {
	to     http.ResponseWriter
	before http.Header // of to, before the handler
	header http.Header // the handler's
	limit  int
	status int // 0: not yet
	body   bytes.Buffer
	passed bool        // what was held is out, and what follows goes out by itself
	sent   http.Header // header when status was set
}

func newHoldingWriter(w http.ResponseWriter, limit int) *holdingWriter {
	return &holdingWriter{to: w, before: w.Header().Clone(), header: w.Header().Clone(), limit: limit}
}

// kept returns the header lines that are the handler's own.
func (w *holdingWriter) kept() http.Header {
	own := make(http.Header)
	for name, values := range w.sent {
		if !slices.Equal(values, w.before[name]) && !slices.Contains(notKept, name) {
			own[name] = values
		}
	}
	return own
}

// unsaid reports whether nothing was answered, but for the 200 that routers such as Gin write for a handler that wrote nothing.
func (w *holdingWriter) unsaid() bool {
	return w.status == 0 || w.status == http.StatusOK && !w.passed && w.body.Len() == 0 &&
		w.sent["Content-Type"] == nil && w.sent["Content-Length"] == nil
}

// pass sends what is held.
func (w *holdingWriter) pass() {
	if w.passed || w.status == 0 {
		return
	}
	w.passed = true
	h := w.to.Header()
	clear(h)
	maps.Copy(h, w.sent)
	w.header = h // trailers may follow
	w.to.WriteHeader(w.status)
	if w.body.Len() > 0 {
		_, _ = w.to.Write(w.body.Bytes()) // a client that is gone is nobody to tell
	}
}

// Header implements http.ResponseWriter.
func (w *holdingWriter) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

// WriteHeader implements http.ResponseWriter.
func (w *holdingWriter) WriteHeader(status int) {
	if status < http.StatusOK { // comes before the answer
		maps.Copy(w.to.Header(), w.header)
		w.to.WriteHeader(status)
		return
	}
	if w.status != 0 {
		return
	}
	w.status, w.sent = status, w.header.Clone()
	if len(w.header["Trailer"]) > 0 {
		w.pass()
	}
}

func (w *holdingWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if !w.passed && w.body.Len()+len(p) > w.limit {
		w.pass()
	}
	if w.passed {
		return w.to.Write(p)
	}
	return w.body.Write(p)
}

// Unwrap is for http.ResponseController, for what is not about the answer.
func (w *holdingWriter) Unwrap() http.ResponseWriter { return w.to }

// Flush implements http.Flusher.
func (w *holdingWriter) Flush() { _ = w.FlushError() }

// FlushError is for http.ResponseController.
func (w *holdingWriter) FlushError() error {
	w.WriteHeader(http.StatusOK)
	w.pass()
	return http.NewResponseController(w.to).Flush()
}

// Hijack implements http.Hijacker: an answer that nobody sees cannot be kept.
func (w *holdingWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, fmt.Errorf("hijack of a request with an Idempotency-Key: %w", http.ErrNotSupported)
}

// CloseNotify is deprecated in net/http but asserted by Gin's Stream.
func (w *holdingWriter) CloseNotify() <-chan bool {
	if n, ok := w.to.(http.CloseNotifier); ok { //nolint:staticcheck // see above
		return n.CloseNotify()
	}
	return make(chan bool)
}
