package netns

import (
	"sync"
	"sync/atomic"
	"time"
)

// way is the shell around a link: it holds packets until their time, and counts.
type way struct {
	s        *Switch
	from, to *port
	wake     chan struct{} // capacity 1: the times of what is held have changed

	packets, bytes, lost, reset atomic.Uint64
	// direct says that there is no effect and nothing is held, so that a packet may go without asking.
	direct atomic.Bool

	mu      sync.Mutex
	link    link
	draw    func() float64
	queue   []held // by time
	running bool   // a goroutine delivers
}

// held is a packet on its way.
type held struct {
	at    time.Time
	bytes []byte
}

// set changes the effect.
func (w *way) set(e effect) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e == w.link.effect {
		w.settle()
		return
	}
	now := time.Now()
	w.link.set(e, now)
	for i := range w.queue {
		w.queue[i].at = w.link.hurry(now, w.queue[i].at)
	}
	w.settle()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// settle is called with mu held, after a change.
func (w *way) settle() { w.direct.Store(w.link.effect == effect{} && !w.running) }

// take lets a packet go its way. The bytes are the caller's.
func (w *way) take(p packet, b []byte) {
	w.packets.Add(1)
	w.bytes.Add(uint64(len(b)))
	if w.direct.Load() {
		w.deliver(b)
		return
	}
	w.mu.Lock()
	now := time.Now()
	at, fate := w.link.take(now, p, len(b), w.draw)
	if fate == arrives && (w.running || at.After(now)) {
		w.hold(at, b)
		w.mu.Unlock()
		return
	}
	w.mu.Unlock()
	switch fate {
	case arrives:
		w.deliver(b)
	case lost:
		w.lost.Add(1)
	case refused:
		w.reset.Add(1)
		_, _ = w.from.dev.Write(p.refusal()) // like any packet, it may be lost
	case aborted:
		w.reset.Add(1)
		_, _ = w.from.dev.Write(p.refusal())
		w.deliver(p.aborted())
	}
}

// hold keeps a packet. It is called with mu held.
func (w *way) hold(at time.Time, b []byte) {
	w.queue = append(w.queue, held{at, append([]byte(nil), b...)})
	w.link.held += len(b)
	if !w.running {
		w.running = true
		w.settle()
		w.s.wg.Go(w.run) // the reader, which called, is one of the group, so it is not over
	}
}

// run delivers until nothing is held.
func (w *way) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		w.mu.Lock()
		if len(w.queue) == 0 {
			w.queue, w.running = nil, false
			w.settle()
			w.mu.Unlock()
			return
		}
		first := w.queue[0]
		wait := time.Until(first.at)
		if wait <= 0 {
			w.queue[0] = held{} // the array lives on
			w.queue = w.queue[1:]
			w.link.held -= len(first.bytes)
		}
		w.mu.Unlock()
		if wait <= 0 {
			w.deliver(first.bytes)
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-w.wake:
		case <-w.s.done:
			return
		}
	}
}

// deliver writes a packet to the device of the other end.
func (w *way) deliver(b []byte) {
	if _, err := w.to.dev.Write(b); err != nil {
		w.lost.Add(1)
	}
}

func (w *way) flow(from, to string) Flow {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Flow{
		From: from, To: to, Packets: w.packets.Load(), Bytes: w.bytes.Load(), Lost: w.lost.Load(), Reset: w.reset.Load(),
		Held: len(w.queue),
	}
}
