package transport

import (
	"context"
	"encoding"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"github.com/holdfast-go/holdfast/internal/backoff"
)

const (
	redialBase = 20 * time.Millisecond
	redialMax  = 500 * time.Millisecond
	// dialTimeout bounds one attempt at a stream.
	dialTimeout = 3 * time.Second
)

// stream is what both sides of a gRPC stream have.
type stream interface {
	SendMsg(m any) error
	RecvMsg(m any) error
}

// link is one stream to a host, with what waits to be sent on it.
type link struct {
	limit int
	heard atomic.Int64 // when something came last, in nanoseconds since began
	began time.Time
	// replaced is closed when there is a stream of a later process of the host.
	replaced chan struct{}

	mu     sync.Mutex
	frames []*[]byte // to be sent; the last one is still being filled
	size   int
	closed bool
	wake   chan struct{} // capacity 1
}

func newLink(limit int) *link {
	return &link{limit: limit, began: time.Now(), replaced: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// push puts a message into the queue. false: it is full, or the stream has ended.
func (l *link) push(a Address, body encoding.BinaryAppender) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.size > l.limit {
		return false
	}
	if n := len(l.frames); n == 0 || len(*l.frames[n-1]) >= frameBytes {
		l.frames = append(l.frames, frames.get())
	}
	last := l.frames[len(l.frames)-1]
	b, err := appendMessage(*last, a, body)
	l.size += len(b) - len(*last)
	*last = b
	if len(l.frames) == 1 {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	return err == nil
}

// take returns what waits.
func (l *link) take(into []*[]byte) []*[]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	into = append(into[:0], l.frames...)
	clear(l.frames)
	l.frames, l.size = l.frames[:0], 0
	return into
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.frames = nil
}

var errReplaced = errors.New("the host has started anew")

var errSilent = errors.New("nothing was heard for too long")

// carry uses a stream until it ends or ctx does. The error is errSilent, that of ctx, or the stream's. The stream has to be
// ended by the caller then, which ends the goroutines that use it; Close joins them.
func (t *Transport) carry(ctx context.Context, name, boot string, s stream, accepted bool) error {
	l := newLink(t.cfg.QueueBytes)
	if !t.attach(name, boot, l) {
		return errors.New("too many streams, or closed")
	}
	received, sent := make(chan error, 1), make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		defer t.work.Done()
		received <- t.receive(name, l, s)
	}()
	go func() {
		defer t.work.Done()
		sent <- t.send(l, s, stop)
	}()
	// Not with what sends, which may be stuck in sending to a host that has stopped reading.
	listen := time.NewTicker(t.cfg.Silence / 3)
	defer listen.Stop()
	var err error
	gone := false
	for err == nil {
		select {
		case <-ctx.Done():
			// Of an accepted stream this comes, too, when its connection breaks. It is not to be told
			// from a stream that it has cut; to take the one for the other does no harm.
			err = ctx.Err()
			gone = accepted && t.ctx.Err() == nil
		case <-l.replaced:
			err = errReplaced
		case err = <-received:
			gone = true
		case err = <-sent:
			gone = true
		case <-listen.C:
			if time.Since(l.began)-time.Duration(l.heard.Load()) > t.cfg.Silence {
				err = errSilent
			}
		}
	}
	l.close()
	close(stop)
	t.detach(name, l, gone)
	return err
}

func (t *Transport) receive(name string, l *link, s stream) error {
	for {
		var p packet
		if err := s.RecvMsg(&p); err != nil {
			return err
		}
		l.heard.Store(int64(time.Since(l.began)))
		err := parseFrame(p.in, func(a Address, body []byte) { t.cfg.Handler.Receive(name, a, body) })
		if err != nil {
			return err
		}
	}
}

// send sends what is pushed, and something empty when there is nothing for too long.
func (t *Transport) send(l *link, s stream, stop <-chan struct{}) error {
	idle := t.cfg.Silence / 3
	tick := time.NewTicker(idle)
	defer tick.Stop()
	var batch []*[]byte
	busy := true
	for {
		select {
		case <-stop:
			return nil
		case <-l.wake:
			busy = true
			batch = l.take(batch)
			for _, b := range batch {
				if err := s.SendMsg(&packet{out: mem.NewBuffer(b, frames)}); err != nil {
					return err
				}
			}
			clear(batch)
		case <-tick.C:
			if !busy {
				if err := s.SendMsg(&packet{out: mem.SliceBuffer(nil)}); err != nil {
					return err
				}
			}
			busy = false
		}
	}
}

// dial keeps a stream to a host, unless there is one that the other side has dialled.
func (t *Transport) dial(ctx context.Context, h *host, conn *grpc.ClientConn) {
	b := backoff.Backoff{Base: redialBase, Max: redialMax}
	for ctx.Err() == nil {
		if t.Linked(h.name) {
			select {
			case <-ctx.Done():
			case <-h.changed:
				// The side that was not left may be dialling at this moment; one stream is enough.
				backoff.Pause(ctx, backoff.Jitter(0, redialBase))
			}
			continue
		}
		began := time.Now()
		err := t.open(ctx, h.name, conn)
		if ctx.Err() != nil {
			return
		}
		t.cfg.Logger.Debug("no stream to a host of replicated state", "host", h.name, "error", err)
		if time.Since(began) > t.cfg.Silence {
			b.Reset()
		}
		backoff.Pause(ctx, b.Next())
		conn.ResetConnectBackoff()
	}
}

// open makes a stream and uses it until it ends.
func (t *Transport) open(ctx context.Context, name string, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timeout := time.AfterFunc(dialTimeout, cancel)
	s, err := conn.NewStream(metadata.NewOutgoingContext(ctx, t.greeting(name)), &linkDesc, linkMethod, callOptions...)
	if err != nil {
		return err
	}
	// The other side answers at once who it is, or refuses.
	md, err := s.Header()
	if err != nil {
		return err
	}
	if !timeout.Stop() {
		return context.DeadlineExceeded
	}
	return t.carry(ctx, name, first(md.Get(bootKey)), s, false)
}

// framePool keeps the buffers of frames.
type framePool struct{ pool sync.Pool }

var frames = &framePool{pool: sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}}

func (f *framePool) get() *[]byte {
	b := f.pool.Get().(*[]byte)
	*b = (*b)[:0]
	return b
}

// Get implements mem.BufferPool.
func (f *framePool) Get(n int) *[]byte {
	b := make([]byte, n)
	return &b
}

// Put implements mem.BufferPool: gRPC has sent the frame.
func (f *framePool) Put(b *[]byte) {
	if cap(*b) <= 2*frameBytes {
		f.pool.Put(b)
	}
}
