package fault

import (
	"time"
)

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
