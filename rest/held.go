package rest

import (
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// holdFor is how long an answer of unknown length is held back, after its header, to see whether it comes to its end: what is
	// not there by then is likely meant to come bit by bit.
	holdFor = 25 * time.Millisecond
	// holdSpare is what an attempt is left of its time by that.
	holdSpare = 5 * time.Millisecond
	// holdFirst is the room for its beginning, which grows up to maxWhole.
	holdFirst = 8 << 10
)

// isOpen reports whether the answer does not say how long it is, and is none that lasts: what a handler of net/http writes
// when it is more than 2 KiB.
func isOpen(resp *http.Response) bool {
	return resp.ContentLength < 0 && resp.Body != nil && resp.Body != http.NoBody && !IsStream(resp)
}

// readOpen is readWhole for an answer of unknown length. What is too long for it, or too slow, goes on as it comes: the caller
// gets what there is, and the rest, with the response that is returned.
func (a *attempt) readOpen(resp *http.Response) (*http.Response, error) {
	patience := a.patience()
	if patience <= 0 {
		return resp, nil
	}
	h := &heldBody{of: resp, own: *resp, rest: resp.Body, data: make([]byte, 0, holdFirst), filled: make(chan struct{})}
	h.own.Trailer, h.own.Body = maps.Clone(resp.Trailer), h
	go h.fill()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-h.filled:
	case <-timer.C:
		h.handed.Store(true)
		return &h.own, nil
	}
	switch {
	case h.err == io.EOF: //nolint:errorlint // as io.Reader has it
		if err := h.rest.Close(); err != nil {
			return nil, err
		}
		a.whole.Reset(h.data)
		resp.Body = &a.whole
	case h.err == nil:
		return &h.own, nil
	default:
		_ = h.rest.Close()
		return nil, h.err
	}
	return resp, nil
}

// patience is how long an answer may be held: an attempt that has begun to answer in time is not to be late for that.
func (a *attempt) patience() time.Duration {
	a.trip.mu.Lock()
	defer a.trip.mu.Unlock()
	return min(holdFor, time.Until(a.until)-holdSpare)
}

// heldBody is a body whose beginning was read before the caller got it.
type heldBody struct {
	// net/http writes the trailers into the response when it reads the end, which may be in fill while the caller looks at
	// them. So the caller has one of its own, and the trailers when it has read the end itself.
	of  *http.Response
	own http.Response

	rest   io.ReadCloser
	handed atomic.Bool   // the caller has it: nothing more is to be read ahead
	filled chan struct{} // closed when nothing is any more

	mu   sync.Mutex
	data []byte // what was read ahead; beyond its length it is fill's
	off  int    // how much of that the caller has
	err  error  // met by fill
}

// fill reads ahead until the end, or as much as is held.
func (h *heldBody) fill() {
	defer close(h.filled)
	for room := h.data[:cap(h.data)]; ; {
		n, err := h.rest.Read(room[len(h.data):])
		h.mu.Lock()
		h.data, h.err = room[:len(h.data)+n], err
		full := len(h.data) == cap(room)
		if full && len(h.data) < maxWhole && err == nil {
			room = make([]byte, min(4*len(h.data), maxWhole))
			h.data = room[:copy(room, h.data)]
			full = false
		}
		h.mu.Unlock()
		if err != nil || full || h.handed.Load() {
			return
		}
	}
}

// Read implements io.Reader.
func (h *heldBody) Read(p []byte) (int, error) {
	if n := h.ahead(p); n > 0 || len(p) == 0 {
		return n, nil
	}
	<-h.filled // what is being read ahead is the next there is
	if n := h.ahead(p); n > 0 {
		return n, nil
	}
	n, err := 0, h.err
	if err == nil {
		n, err = h.rest.Read(p)
	}
	if err == io.EOF {
		h.own.Trailer = h.of.Trailer
	}
	return n, err
}

// ahead reads of what was read ahead.
func (h *heldBody) ahead(p []byte) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := copy(p, h.data[h.off:])
	if h.off += n; n > 0 && h.off == len(h.data) {
		select {
		case <-h.filled:
			h.data, h.off = nil, 0
		default:
		}
	}
	return n
}

// Close implements io.Closer. Who reads ahead meanwhile gets an error.
func (h *heldBody) Close() error { return h.rest.Close() }
