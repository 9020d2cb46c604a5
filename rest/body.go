package rest

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

var (
	errReplaced = errors.New("rest: request body belongs to a later attempt")
	errLost     = errors.New("rest: request body is too large to be sent again")
)

// maxUnwritten is what is kept of a body that is too long to be sent twice: more than net/http reads ahead of the first
// write to the connection, so that the body of a request that was not sent is still whole.
const maxUnwritten = 16 << 10

// requestBody hands the body of one request to its attempts, one after the other. It exists because a body can be read
// once, and because net/http may still be reading it for an attempt that is over. A nil *requestBody is an empty body.
type requestBody struct {
	src io.ReadCloser

	reading sync.Mutex // held while src is read, taken before mu

	mu    sync.Mutex
	keep  int    // most that may be kept
	size  int    // expected, to allocate once; 0 if not known
	kept  []byte // all that was read of src so far, unless lost
	taken int64  // how much that was
	lost  bool   // more was read than may be kept
	err   error  // of src, sticky; io.EOF included
	view  *bodyView
	ended bool // no attempt follows
	once  sync.Once
}

func newRequestBody(req *http.Request, keep int64) *requestBody {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	b := &requestBody{src: req.Body, keep: int(max(0, keep))}
	switch {
	case req.ContentLength > keep:
		b.keep = min(b.keep, maxUnwritten)
	case req.ContentLength > 0:
		b.size = int(req.ContentLength)
	}
	return b
}

// next returns the body for the next attempt and takes it away from the one before. It does not block. The error is
// errLost.
func (b *requestBody) next() (io.ReadCloser, error) {
	if b == nil {
		return http.NoBody, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost {
		return nil, errLost
	}
	b.view = &bodyView{body: b}
	return b.view, nil
}

// repeatable reports whether next would give a body.
func (b *requestBody) repeatable() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.lost
}

// failed returns the error that the source gave, if it did.
func (b *requestBody) failed() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil || errors.Is(b.err, io.EOF) {
		return nil
	}
	return b.err
}

// end says that no attempt follows: the source is closed as soon as the last one is through with it.
func (b *requestBody) end() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.ended = true
	through := b.view == nil || b.view.closed
	b.mu.Unlock()
	if through {
		b.close()
	}
}

// close closes the source at once, also under a Read that blocks, which it thereby ends.
func (b *requestBody) close() {
	if b != nil {
		b.once.Do(func() { _ = b.src.Close() })
	}
}

// bodyView is the body as one attempt sees it: what is kept, then the rest of the source.
type bodyView struct {
	body   *requestBody
	off    int64
	closed bool // under body.mu
}

func (v *bodyView) Read(p []byte) (int, error) {
	if n, done, err := v.replay(p); done {
		return n, err
	}
	b := v.body
	b.reading.Lock()
	defer b.reading.Unlock()
	// While we waited, an attempt before this one may have read on.
	if n, done, err := v.replay(p); done {
		return n, err
	}
	n, err := b.src.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remember(p[:n])
	b.err = err
	v.off += int64(n)
	return n, err
}

// replay reads what needs no source. It is not done if there is nothing more of that.
func (v *bodyView) replay(p []byte) (n int, done bool, err error) {
	b := v.body
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.view != v || v.closed:
		return 0, true, errReplaced
	case len(p) == 0:
		return 0, true, nil
	case b.lost && v.off < b.taken:
		return 0, true, errLost
	case v.off < b.taken:
		n = copy(p, b.kept[v.off:])
		v.off += int64(n)
		return n, true, nil
	case b.err != nil:
		return 0, true, b.err
	}
	return 0, false, nil
}

func (b *requestBody) remember(p []byte) {
	b.taken += int64(len(p))
	switch {
	case b.lost || len(p) == 0:
	case b.taken > int64(b.keep):
		b.lost, b.kept = true, nil
	default:
		if b.kept == nil {
			b.kept = make([]byte, 0, max(b.size, len(p)))
		}
		b.kept = append(b.kept, p...)
	}
}

// Close is called by net/http for every attempt, also for those that never read.
func (v *bodyView) Close() error {
	b := v.body
	b.mu.Lock()
	v.closed = true
	through := b.view == v && b.ended
	b.mu.Unlock()
	if through {
		b.close()
	}
	return nil
}
