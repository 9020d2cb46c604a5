package control

import (
	"io"
	"net/http"
	"time"
)

// bound bounds every request's body in size and in time, also where nobody reads it, and every answer in time.
func bound(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		answers := &boundWriter{w, rc}
		answers.renew() // the last request of this connection may have been long ago
		if r.ContentLength != 0 {
			_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout)) // not every writer can (httptest)
			r = r.WithContext(r.Context())                      // a copy: net/http has to see its own body to hang up at once on what is too large to be read
			r.Body = &bodyReader{http.MaxBytesReader(w, r.Body, maxBody), rc}
		}
		next.ServeHTTP(answers, r)
		answers.renew() // net/http writes the rest
	})
}

// boundWriter gives each write, and what is flushed after it, writeTimeout to be read by the client. One that stops reading is cut
// off, and holds neither its connection nor its stream any longer. A handler may take as long as it likes before it writes.
type boundWriter struct {
	http.ResponseWriter
	rc *http.ResponseController
}

func (b *boundWriter) renew() { _ = b.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) } // not every writer can (httptest)

func (b *boundWriter) WriteHeader(status int) {
	b.renew()
	b.ResponseWriter.WriteHeader(status)
}

func (b *boundWriter) Write(p []byte) (int, error) {
	b.renew()
	return b.ResponseWriter.Write(p)
}

// FlushError implements what http.ResponseController looks for.
func (b *boundWriter) FlushError() error {
	b.renew()
	return b.rc.Flush()
}

// Unwrap lets http.ResponseController do all else.
func (b *boundWriter) Unwrap() http.ResponseWriter { return b.ResponseWriter }

// bodyReader takes the read deadline away at the end of the body: net/http goes on reading, to notice a client
// that hangs up, and a restart may take longer than a body.
type bodyReader struct {
	io.ReadCloser
	rc *http.ResponseController
}

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.rc.SetReadDeadline(time.Time{})
	}
	return n, err
}
