package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// windowBytes is how much a sender may have on the way.
const windowBytes = 64 << 10

// link is a connection with its two ends.
type link struct {
	mu      sync.Mutex
	frozen  bool
	delay   time.Duration
	broken  bool
	ends    [2]end // what each of the two, client and server, receives
	addrs   [2]net.Addr
	changed chan struct{} // closed and replaced at every change
	gone    func()        // both ends are closed, or it was reset
}

// end is one direction, at its receiver.
type end struct {
	chunks   []chunk
	size     int
	closed   bool // by its owner: no more reads, nor writes to the other
	deadline [2]time.Time
}

type chunk struct {
	data []byte
	at   time.Time // when it arrives
}

const (
	reading = 0
	writing = 1
)

// conn is one end of a link: side 0 dialled, side 1 was accepted.
type conn struct {
	l    *link
	side int
}

func newLink(h *host, from net.Addr) *link {
	return &link{addrs: [2]net.Addr{from, h.addr}, changed: make(chan struct{})}
}

func (l *link) client() *conn { return &conn{l, 0} }
func (l *link) server() *conn { return &conn{l, 1} }

func (l *link) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *link) set(frozen bool, delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen, l.delay = frozen, delay
	l.wake()
}

func (l *link) freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen = true
	l.wake()
}

// dialled reports whether the client's end is open.
func (l *link) dialled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.ends[0].closed
}

func (l *link) reset() {
	l.mu.Lock()
	first := !l.broken
	l.broken = true
	l.wake()
	l.mu.Unlock()
	if first {
		l.gone()
	}
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	l := c.l
	for {
		l.mu.Lock()
		mine, other := &l.ends[c.side], &l.ends[1-c.side]
		now := time.Now()
		wait := mine.deadline[reading]
		switch {
		case mine.closed:
			l.mu.Unlock()
			return 0, c.fail("read", net.ErrClosed)
		case l.broken:
			l.mu.Unlock()
			return 0, c.fail("read", syscall.ECONNRESET)
		case !wait.IsZero() && !now.Before(wait):
			l.mu.Unlock()
			return 0, c.fail("read", os.ErrDeadlineExceeded)
		case l.frozen:
		case len(mine.chunks) > 0:
			head := &mine.chunks[0]
			if !now.Before(head.at) {
				n := copy(b, head.data)
				if head.data = head.data[n:]; len(head.data) == 0 {
					mine.chunks = mine.chunks[1:]
				}
				mine.size -= n
				l.wake()
				l.mu.Unlock()
				return n, nil
			}
			if wait.IsZero() || head.at.Before(wait) {
				wait = head.at
			}
		case other.closed:
			l.mu.Unlock()
			return 0, io.EOF
		}
		changed := l.changed
		l.mu.Unlock()
		await(changed, wait)
	}
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	l := c.l
	written := 0
	for {
		l.mu.Lock()
		mine, other := &l.ends[c.side], &l.ends[1-c.side]
		wait := mine.deadline[writing]
		var err error
		switch {
		case mine.closed:
			err = net.ErrClosed
		case l.broken:
			err = syscall.ECONNRESET
		case other.closed:
			err = syscall.EPIPE
		case !wait.IsZero() && !time.Now().Before(wait):
			err = os.ErrDeadlineExceeded
		}
		if err != nil {
			l.mu.Unlock()
			return written, c.fail("write", err)
		}
		if n := min(windowBytes-other.size, len(b)); n > 0 {
			other.chunks = append(other.chunks, chunk{append([]byte(nil), b[:n]...), time.Now().Add(l.delay)})
			other.size += n
			written += n
			b = b[n:]
			l.wake()
		}
		changed := l.changed
		l.mu.Unlock()
		if len(b) == 0 {
			return written, nil
		}
		await(changed, wait)
	}
}

// await waits for a change, or for a time that is not zero.
func await(changed <-chan struct{}, until time.Time) {
	if until.IsZero() {
		<-changed
		return
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	}
}

// Close implements net.Conn. What was written before arrives.
func (c *conn) Close() error {
	l := c.l
	l.mu.Lock()
	mine, other := &l.ends[c.side], &l.ends[1-c.side]
	if mine.closed {
		l.mu.Unlock()
		return c.fail("close", net.ErrClosed)
	}
	mine.closed = true
	mine.chunks, mine.size = nil, 0
	last := other.closed && !l.broken
	l.wake()
	l.mu.Unlock()
	if last {
		l.gone()
	}
	return nil
}

func (c *conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.l.addrs[c.side] }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.l.addrs[1-c.side] }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error { return c.deadline(t, reading, writing) }

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error { return c.deadline(t, reading) }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.deadline(t, writing) }

func (c *conn) deadline(t time.Time, which ...int) error {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	mine := &c.l.ends[c.side]
	if mine.closed {
		return c.fail("set deadline", net.ErrClosed)
	}
	for _, w := range which {
		mine.deadline[w] = t
	}
	c.l.wake()
	return nil
}
