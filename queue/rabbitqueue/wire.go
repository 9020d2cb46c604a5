package rabbitqueue

import (
	"net"
	"sync"
)

// wire is the connection below the AMQP client, with two differences to a plain one. Writes only append to what a
// goroutine sends, many frames at a time: the client flushes after each message, which would be a system call for each.
// And a failed read closes the connection at once: the client's own teardown first waits for writers, which wait for a peer
// that does not read any more (it takes the mutex of each channel before it closes the socket).
//
// What is not sent yet is bounded by those who write: publishers by their budget, acknowledgements by the window.
type wire struct {
	net.Conn

	mu     sync.Mutex
	more   sync.Cond // pending has grown, or err is set
	next   []byte    // not sent yet
	err    error     // set once; nothing is sent any more
	closed chan struct{}
}

func newWire(c net.Conn) *wire {
	w := &wire{Conn: c, closed: make(chan struct{})}
	w.more.L = &w.mu
	go w.send()
	return w
}

// Write implements net.Conn. It never blocks; an error of the network is that of a later call.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	if len(w.next) == 0 {
		w.more.Signal()
	}
	w.next = append(w.next, p...)
	return len(p), nil
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil {
		w.fail(err)
	}
	return n, err
}

// Close implements net.Conn. What was not sent yet is not sent.
func (w *wire) Close() error {
	w.fail(net.ErrClosed)
	<-w.closed
	return nil
}

func (w *wire) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
		w.more.Signal()
		w.Conn.Close()
	}
}

// maxSpare is how large a buffer is kept for the next writes.
const maxSpare = 1 << 20

func (w *wire) send() {
	defer close(w.closed)
	var spare []byte
	for {
		w.mu.Lock()
		for len(w.next) == 0 && w.err == nil {
			w.more.Wait()
		}
		if w.err != nil {
			w.next = nil
			w.mu.Unlock()
			return
		}
		out := w.next
		w.next = spare[:0]
		w.mu.Unlock()
		if _, err := w.Conn.Write(out); err != nil {
			w.fail(err)
			return
		}
		if spare = out; cap(spare) > maxSpare {
			spare = nil
		}
	}
}
