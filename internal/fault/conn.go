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
	name string // of what it was dialled for, if rules know that by a name

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

func newConn(inj *Injector, c net.Conn, addr, name string) *conn {
	return &conn{Conn: c, inj: inj, addr: addr, name: name, changed: make(chan struct{})}
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
