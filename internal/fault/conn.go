package fault

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is a connection that suffers what its shape says. Without one it passes straight through, at the price of an atomic
// load a piece. With one, each direction has a lane with a goroutine of its own that moves bytes between the lane and the
// network, so that what is on its way stays on its way while the user does something else, as it would in a kernel. When
// the shape is lifted and the lanes are empty, it passes straight through again.
//
// What a kernel would do holds here: a Write returns when its bytes are in the lane; a Close lets them arrive before the
// end of the connection, which is held back like them; deadlines are those of the user's calls alone.
type conn struct {
	net.Conn
	inj  *Injector
	addr string // as it was dialled; "" if it was accepted

	shaped atomic.Bool // a shape is in force, or a lane is not empty, or it was reset

	writing sync.Mutex  // one Write after the other, as in a kernel
	direct  atomic.Bool // a Write hands bytes to the network itself; set before it looks whether it may

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
	shape   Shape
	resets  uint64      // the highest Shape.Serial so far
	broken  bool        // reset on purpose
	closed  bool        // by the user
	again   *time.Timer // of Shape.ResetEvery
	in, out lane
}

// lanes is how many bytes each lane holds: the rest stays where it is.
const lanes = 1 << 20

// atOnce is how much is written straight between two looks at the rules: what goes through a cut that begins meanwhile.
const atOnce = 64 << 10

// lingers is how long a peer may take nothing of what was on its way when the connection was closed.
const lingers = 10 * time.Second

func newConn(inj *Injector, c net.Conn, addr string) *conn {
	return &conn{Conn: c, inj: inj, addr: addr, changed: make(chan struct{})}
}

// wake needs mu.
func (c *conn) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// await gives up mu until something changes, or until a time that is not zero.
func (c *conn) await(until time.Time) {
	changed := c.changed
	c.mu.Unlock()
	defer c.mu.Lock()
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

// refresh puts the shape in force that the plan has for the connection.
func (c *conn) refresh(fresh bool) {
	c.mu.Lock()
	// Read with mu held: who comes last has the latest.
	before, s := c.shape, c.inj.shapeOf(c)
	c.shape = s
	if fresh {
		before.Reset, c.resets = s.Reset, s.Serial // which is for those that were open when it began
	}
	reset := s.Reset && (!before.Reset || s.Serial > c.resets)
	c.resets = max(c.resets, s.Serial)
	if s.holds() {
		c.shaped.Store(true)
	} else {
		if c.in.moving {
			_ = c.Conn.SetReadDeadline(time.Unix(1, 0)) // so that receive looks up
		}
		c.settle()
	}
	if s.ResetEvery != before.ResetEvery {
		if c.again != nil {
			c.again.Stop()
			c.again = nil
		}
		if s.ResetEvery > 0 {
			c.again = time.AfterFunc(s.ResetEvery, c.reset)
		}
	}
	c.wake()
	c.mu.Unlock()
	if reset {
		c.reset()
	}
}

// settle lets the connection pass straight through if nothing speaks against it. It needs mu.
func (c *conn) settle() {
	if !c.shape.holds() && !c.broken && c.in.idle() && c.out.idle() && c.in.end == nil && c.out.end == nil {
		c.shaped.Store(false)
	}
}

// reset ends the connection as a machine in between does: both ends see ECONNRESET, bytes on their way are lost.
func (c *conn) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || c.closed && !c.out.moving {
		return
	}
	c.broken = true
	c.shaped.Store(true)
	c.in.drop()
	c.out.drop()
	c.wake()
	if l, ok := c.Conn.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0) // as good as it gets where that fails
	}
	_ = c.Conn.Close()
	c.inj.suffered.Add(1)
	c.leave()
}

// leave makes the Injector forget the connection. It needs mu.
func (c *conn) leave() {
	if c.again != nil {
		c.again.Stop()
		c.again = nil
	}
	c.inj.conns.Delete(c)
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	if c.shaped.Load() {
		return c.read(b)
	}
	return c.readStraight(b)
}

// readStraight reads from the network, and looks at the rules again: what came is what one is for that began meanwhile.
func (c *conn) readStraight(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.shaped.Load() && !timedOut(err) {
		return n, err
	}
	c.mu.Lock()
	switch {
	case c.closed || c.broken: // which may be why it has ended
	case c.in.moving, !c.shape.holds() && c.in.idle(): // somebody else reads, too, and has gone before; or all is over
		c.mu.Unlock()
		return n, err
	default:
		if n > 0 {
			c.push(&c.in, b[:n])
		}
		if err != nil && !timedOut(err) {
			c.in.end = err
		}
	}
	c.mu.Unlock()
	return c.read(b)
}

// read reads from the lane.
func (c *conn) read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		l := &c.in
		if err := c.over(l); err != nil {
			return 0, c.fail("read", err)
		}
		due, cut := l.due(&c.shape), c.shape.CutIn
		switch {
		case len(b) == 0:
			return 0, nil
		case len(l.rest) > 0, len(l.pieces) > 0 && !cut && !time.Now().Before(due):
			n := l.take(&c.shape, b)
			c.settle()
			c.wake()
			return n, nil
		case len(l.pieces) == 0 && l.end != nil && !cut:
			return 0, l.end
		case len(l.pieces) == 0 && !l.moving && !c.shape.holds():
			c.settle()
			c.mu.Unlock()
			defer c.mu.Lock()
			return c.readStraight(b)
		}
		if !l.moving && l.end == nil {
			l.moving = true
			_ = c.Conn.SetReadDeadline(time.Time{}) // the user's is not that of the one who moves
			go c.receive()
		}
		until := l.deadline
		if len(l.pieces) > 0 && !cut && (until.IsZero() || due.Before(until)) {
			until = due
		}
		c.await(until)
	}
}

// receive moves what comes into the lane, until the shape is lifted or the connection closed.
func (c *conn) receive() {
	buf := make([]byte, 32<<10)
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.in
	for {
		for l.room() <= 0 && !c.broken && !c.closed {
			c.await(time.Time{})
		}
		c.mu.Unlock()
		n, err := c.Conn.Read(buf)
		c.mu.Lock()
		if n > 0 && !c.closed && !c.broken {
			c.push(l, buf[:n])
		}
		if timedOut(err) && !c.closed { // refresh has called
			err = c.Conn.SetReadDeadline(time.Time{})
		}
		if err != nil {
			l.end = err
		}
		if err == nil && c.shape.holds() {
			c.wake()
			continue
		}
		l.moving = false
		if !c.closed {
			_ = c.Conn.SetReadDeadline(l.deadline) // which fails after the end, when it does not matter
		}
		c.settle()
		c.wake()
		return
	}
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (written int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for {
		straight := !c.shaped.Load()
		if straight {
			c.direct.Store(true)
			if straight = !c.shaped.Load(); !straight { // a rule began just now, and whoever put it in force may not have seen direct
				c.direct.Store(false)
			}
		}
		if !straight {
			n, done, err := c.write(b[written:])
			if written += n; done || err != nil {
				return written, err
			}
		}
		n, err := c.Conn.Write(b[written:min(len(b), written+atOnce)])
		c.direct.Store(false)
		written += n
		switch {
		case err != nil:
			return written, c.ended("write", err)
		case written == len(b):
			return written, nil
		}
	}
}

// ended is why the network says err: what was done to the connection meanwhile, if something was.
func (c *conn) ended(op string, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if over := c.over(&lane{}); over != nil {
		return c.fail(op, over)
	}
	return err
}

// write writes to the lane. It is done, or else the lane is empty and not needed, and what is left is for the
// network: direct is set.
func (c *conn) write(b []byte) (written int, done bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.out
	for {
		if err := c.over(l); err != nil {
			return written, false, c.fail("write", err)
		}
		switch room := l.room(); {
		case l.end != nil:
			return written, false, l.end
		case l.idle() && !c.shape.holds():
			c.settle()
			c.direct.Store(true)
			return written, false, nil
		case room > 0:
			n := min(room, len(b))
			c.push(l, b[:n])
			c.move()
			written += n
			if b = b[n:]; len(b) == 0 {
				return written, true, nil
			}
		default:
			c.await(l.deadline)
		}
	}
}

// move has the lane moved to the network. It needs mu.
func (c *conn) move() {
	c.wake()
	if !c.out.moving {
		c.out.moving = true
		if !c.direct.Load() { // or else it holds the user's, or was ended by Close; only an end is to be sent
			_ = c.Conn.SetWriteDeadline(time.Time{})
		}
		go c.send()
	}
}

// send moves the lane to the network until it is empty, or for ever broken.
func (c *conn) send() {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.out
	for len(l.pieces) > 0 && !c.broken {
		due := l.due(&c.shape)
		if c.shape.CutOut {
			c.await(time.Time{})
			continue
		}
		if time.Now().Before(due) {
			c.await(due)
			continue
		}
		p := l.pop(&c.shape)
		if c.closed && !c.direct.Load() { // nobody is left whom a peer that takes nothing could hold up but this goroutine
			_ = c.Conn.SetWriteDeadline(time.Now().Add(lingers))
		}
		c.mu.Unlock()
		err := c.deliver(p)
		c.mu.Lock()
		l.size -= len(p.data)
		if err != nil {
			l.drop()
			l.end = err
			if c.closed {
				_ = c.Conn.Close()
				c.leave()
			}
		}
		c.wake()
	}
	l.moving = false
	if !c.closed {
		_ = c.Conn.SetWriteDeadline(l.deadline)
	}
	c.settle()
	c.wake()
}

// deliver hands one piece to the network. No mu.
func (c *conn) deliver(p piece) (err error) {
	switch p.end {
	case noEnd:
		_, err = c.Conn.Write(p.data)
	case halfEnd:
		if h, ok := c.Conn.(closeWriter); ok {
			err = h.CloseWrite()
		}
	case wholeEnd:
		err = c.Conn.Close()
		c.mu.Lock()
		c.leave()
		c.mu.Unlock()
	}
	return err
}

// push adds bytes to a lane. It needs mu.
func (c *conn) push(l *lane, b []byte) {
	held := l == &c.in && c.shape.CutIn || l == &c.out && c.shape.CutOut || c.shape.Delay > 0 || c.shape.Jitter > 0 || c.shape.Rate > 0
	if held {
		c.inj.suffered.Add(1)
	}
	l.push(&c.shape, b, c.inj.random())
}

// over is why a call on a lane is at its end, nil if it is not. It needs mu.
func (c *conn) over(l *lane) error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.broken:
		return syscall.ECONNRESET
	case !l.deadline.IsZero() && !time.Now().Before(l.deadline):
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (c *conn) fail(op string, err error) error {
	if errors.Is(err, syscall.ECONNRESET) {
		err = os.NewSyscallError(op, syscall.ECONNRESET)
	}
	return &net.OpError{Op: op, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

type closeWriter interface{ CloseWrite() error }

// CloseWrite ends one direction, as that of a *net.TCPConn, after what was written.
func (c *conn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.Conn.(closeWriter)
	if !ok {
		return c.fail("close write", errors.ErrUnsupported)
	}
	if err := c.over(&lane{}); err != nil {
		return c.fail("close write", err)
	}
	if c.out.idle() && !c.shape.holds() {
		return h.CloseWrite()
	}
	c.out.pushEnd(halfEnd, c.inj.random())
	c.move()
	return nil
}

// Close implements net.Conn. What was written before arrives, and then the end of the connection, when the shape lets
// them: nobody waits for that. A Read or a Write under way ends.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.closed = true
	c.in.drop()
	c.wake()
	if c.broken {
		return nil
	}
	if c.out.idle() && !c.shape.holds() || c.out.end != nil {
		err := c.Conn.Close()
		c.leave()
		return err
	}
	c.out.pushEnd(wholeEnd, c.inj.random())
	c.move()
	_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
	if c.direct.Load() {
		_ = c.Conn.SetWriteDeadline(time.Unix(1, 0))
	} else {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(lingers)) // of a piece that is being handed on; send renews it for each
	}
	return nil
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	return c.setDeadline(&c.in, t, c.Conn.SetReadDeadline)
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(&c.out, t, c.Conn.SetWriteDeadline)
}

func (c *conn) setDeadline(l *lane, t time.Time, underlying func(time.Time) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	l.deadline = t
	c.wake()
	if l.moving || c.broken {
		return nil
	}
	return underlying(t)
}

func timedOut(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded)
}

var _ io.ReadWriteCloser = (*conn)(nil)
