package fault

import (
	"time"
)

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
