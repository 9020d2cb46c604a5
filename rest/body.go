package rest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
)

var (
	errReplaced = errors.New("rest: request body belongs to a later attempt")
	errLost     = errors.New("rest: request body is too large to be sent again")
)

const (
	// maxUnwritten is what is kept of a body that is too long to be sent twice: more than net/http reads ahead of the
	// first write to the connection, so that the body of a request that was not sent is still whole.
	maxUnwritten = 16 << 10
	// maxUnsafe is what is kept of the body of a request that may not run twice. It is sent again only if no instance has
	// begun with it, which a busy one says before it has read much.
	maxUnsafe = 64 << 10
)

// requestBody hands the body of one request to its attempts, one after the other. It exists because a body can be read
// once, and because net/http may still be reading it for an attempt that is over. A nil *requestBody is an empty body.
type requestBody struct {
	src io.ReadCloser

	reading sync.Mutex // held while src is read, taken before mu

	mu    sync.Mutex
	keep  int    // most that may be kept, but for one read
	size  int    // expected, to allocate once; 0 if not known
	kept  []byte // all that was read of src so far, unless lost
	taken int64  // how much that was
	lost  bool   // more was read than may be kept
	err   error  // of src, sticky; io.EOF included
	view  *bodyView
	ended bool // no attempt follows
	once  sync.Once
}

// newRequestBody keeps at most keep bytes of the body, and of one that is not safe to repeat maxUnsafe.
func newRequestBody(req *http.Request, keep int64, safe bool) *requestBody {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	if !safe {
		keep = min(keep, maxUnsafe)
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

// share returns a body for an attempt that runs beside the present one. It is false if the body has not been read to its
// end, or not been kept.
func (b *requestBody) share() (io.ReadCloser, bool) {
	if b == nil {
		return http.NoBody, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost || !errors.Is(b.err, io.EOF) {
		return nil, false
	}
	return io.NopCloser(bytes.NewReader(b.kept)), true
}

// reclaim takes the body away from the present attempt if next would give it to another, which holds from then on. If not, it
// is left as it is.
func (b *requestBody) reclaim() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost {
		return false
	}
	b.view = nil
	return true
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

// late reports whether the source did not come in time.
func (b *requestBody) late() bool { return errors.Is(b.failed(), os.ErrDeadlineExceeded) }

// end says that no attempt follows: the source is closed as soon as the last one is through with it, and what is kept is
// not any more.
func (b *requestBody) end() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.ended = true
	if b.reading.TryLock() { // whoever reads now does it afterwards
		b.forget()
		b.reading.Unlock()
	}
	through := b.view == nil || b.view.closed
	b.mu.Unlock()
	if through {
		b.close()
	}
}

// close closes the source at once, also under a Read that blocks. Most end thereby; the Close of a body that a server reads
// waits for it instead, and is not waited for here.
func (b *requestBody) close() {
	if b == nil {
		return
	}
	b.once.Do(func() {
		if b.reading.TryLock() {
			defer b.reading.Unlock()
			_ = b.src.Close()
			return
		}
		go func() { _ = b.src.Close() }()
	})
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
	b.remember(p[:n], b.view == v && !v.closed)
	b.err = err
	v.off += int64(n)
	b.forget()
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

// forget drops what is kept once nobody can ask for it. b.reading and b.mu are held: what a dead attempt is just reading
// belongs to the last one.
func (b *requestBody) forget() {
	if b.ended && (b.view == nil || b.view.closed || b.view.off == b.taken) {
		b.lost, b.kept = true, nil
	}
}

// remember keeps what was read if that is not too much. What was read for an attempt that is over is kept all the same,
// because nobody has sent it: that is one read, since such an attempt reads no more.
func (b *requestBody) remember(p []byte, wanted bool) {
	b.taken += int64(len(p))
	switch {
	case b.lost || len(p) == 0:
	case wanted && b.taken > int64(b.keep):
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

// watchedBody is a body of GetBody that tells whether reading it failed: that is ours, and says nothing about the instance.
type watchedBody struct {
	io.ReadCloser
	closed atomic.Bool // by net/http: what is read after that is nobody's fault
	err    atomic.Pointer[error]
}

func watchBody(body io.ReadCloser) *watchedBody {
	if _, own := body.(*bodyView); own || body == http.NoBody || inMemory(body) {
		return nil
	}
	return &watchedBody{ReadCloser: body}
}

// inMemory reports whether a body is one that http.NewRequest makes of what is in memory: it cannot fail, and net/http, which
// looks in the same way, sends it together with the header.
func inMemory(body io.ReadCloser) bool {
	v := reflect.ValueOf(body)
	if t := v.Type(); t != nopCloser && t != nopCloserWriterTo {
		return false
	}
	switch v.Field(0).Interface().(type) {
	case *bytes.Buffer, *bytes.Reader, *strings.Reader:
		return true
	}
	return false
}

var (
	nopCloser         = reflect.TypeOf(io.NopCloser(nil))
	nopCloserWriterTo = reflect.TypeOf(io.NopCloser(new(bytes.Reader)))
)

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF && !b.closed.Load() {
		b.err.Store(&err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}

func (b *watchedBody) failed() error {
	if b == nil || b.err.Load() == nil {
		return nil
	}
	return *b.err.Load()
}
