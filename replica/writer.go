package replica

import (
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/replica/internal/core"
	"github.com/holdfast-go/holdfast/replica/internal/wal"
)

// writer is the one that writes to the log: what all groups want written by then, with one write and one sync.
type writer struct {
	host *Host

	mu     sync.Mutex
	queue  []write
	wake   chan struct{} // capacity 1
	ended  bool
	failed error

	background sync.WaitGroup // of run's goroutine

	watch watch
	hung  chan struct{} // closed when the disk is given up that does not answer
}

// watch counts the seconds that a write takes. It is not a timer of stallLimit: a process that does not run for a while
// must not take that for its disk's fault.
type watch struct {
	mu      sync.Mutex
	timer   *time.Timer // nil: never used
	writing bool
	seconds int
}

// stallLimit is how many seconds a write may take until the disk is given up.
const stallLimit = 30

func (w *watch) begin(tooLong func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing, w.seconds = true, 0
	if w.timer == nil {
		w.timer = time.AfterFunc(time.Second, func() { w.tick(tooLong) })
		return
	}
	w.timer.Reset(time.Second)
}

func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = false
	w.timer.Stop()
}

func (w *watch) tick(tooLong func()) {
	w.mu.Lock()
	if !w.writing {
		w.mu.Unlock()
		return
	}
	w.seconds++
	if w.seconds < stallLimit {
		w.timer.Reset(time.Second)
		w.mu.Unlock()
		return
	}
	w.writing = false
	w.mu.Unlock()
	tooLong()
}

// write is something to be written: an Append of a member, or an update of the shell with its end.
type write struct {
	member *member
	append *core.Append
	update wal.Update
	done   chan error // capacity 1
}

func newWriter(h *Host) *writer {
	return &writer{host: h, wake: make(chan struct{}, 1), hung: make(chan struct{})}
}

func (w *writer) push(items ...write) {
	w.mu.Lock()
	if w.failed == nil && !w.ended {
		w.queue = append(w.queue, items...)
		w.mu.Unlock()
		select {
		case w.wake <- struct{}{}:
		default:
		}
		return
	}
	err := w.failed
	w.mu.Unlock()
	if err == nil {
		err = ErrStopped
	}
	for _, i := range items {
		if i.done != nil {
			i.done <- err
		}
	}
}

// update makes an update durable.
func (w *writer) update(u wal.Update) error {
	done := make(chan error, 1)
	w.push(write{update: u, done: done})
	select {
	case err := <-done:
		return err
	case <-w.hung:
		return ErrDiskStalled
	}
}

// giveUp ends the host: its disk neither does what it is told to nor says that it cannot. What is being written may yet
// become durable; nobody is told so.
func (w *writer) giveUp() {
	w.mu.Lock()
	if w.failed != nil {
		w.mu.Unlock()
		return
	}
	w.failed = ErrDiskStalled.With("the disk of " + w.host.cfg.Dir + " has not answered for " + (stallLimit * time.Second).String())
	err := w.failed
	w.queue = nil // whoever waits for these sees hung
	w.mu.Unlock()
	close(w.hung)
	w.host.fail(err)
}

func (w *writer) stop() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run writes until stop, and everything that was pushed before it.
func (w *writer) run() {
	defer func() {
		w.host.snaps.Stop()
		w.background.Wait()
	}()
	var batch []write
	var updates []wal.Update
	late := behind(w)
	for range w.wake {
		for {
			w.mu.Lock()
			batch, w.queue = w.queue, batch[:0]
			ended := w.ended
			w.mu.Unlock()
			if len(batch) == 0 {
				if ended {
					return
				}
				break
			}
			for rest := batch; len(rest) > 0; {
				var n int
				updates, n = w.take(updates[:0], rest)
				if late != nil {
					late(updates)
				} else if len(updates) > 0 && !w.write(updates, rest) {
					break
				}
				w.tell(rest[:n])
				rest = rest[n:]
			}
			clear(updates)
			clear(batch)
		}
	}
}

// maxWrite is about how much is written at once; the log has a bound.
const maxWrite = 16 << 20

// take returns the updates of the first n items.
func (w *writer) take(updates []wal.Update, items []write) (_ []wal.Update, n int) {
	size := 0
	for n < len(items) && size < maxWrite {
		i := items[n]
		n++
		switch {
		case i.append == nil:
			updates = append(updates, i.update)
		case i.append.Sync: // otherwise there is nothing to write, and it only has to be in its turn
			updates = append(updates, updateOf(i.member.group.id, i.append))
			for _, e := range i.append.Entries {
				size += len(e.GetData()) + 32
			}
		}
	}
	return updates, n
}

// write makes updates durable; false: that failed, and everybody knows.
func (w *writer) write(updates []wal.Update, batch []write) bool {
	began := time.Now()
	w.watch.begin(w.giveUp)
	err := w.host.wal.Append(updates)
	w.watch.end()
	if err != nil {
		w.fail(err, batch)
		return false
	}
	if o := w.host.cfg.Observer; o != nil {
		bytes := 0
		for _, u := range updates {
			for _, e := range u.Entries {
				bytes += len(e.GetData())
			}
		}
		o.Synced(bytes, len(updates), time.Since(began))
	}
	return true
}

// tell reports what is durable, or has nothing that could be.
func (w *writer) tell(batch []write) {
	for _, i := range batch {
		if i.append == nil {
			i.done <- nil
			continue
		}
		// Before the group hears of it: the others wait for this.
		i.member.send(i.append.Send)
	}
	for _, i := range batch {
		if i.append == nil {
			continue
		}
		if u := updateOf(i.member.group.id, i.append); u.Mark != nil {
			// The log stands on this one from now on; those before it may go. No write waits for that: to remove a
			// large file takes a file system a while.
			w.background.Go(func() { w.host.snaps.Retain(u.Group, u.Mark.Index, u.Mark.Term) })
		}
		i.member.input(input{kind: persisted, append: i.append})
	}
}

func (w *writer) fail(err error, batch []write) {
	w.mu.Lock()
	if w.failed != nil { // given up before
		w.mu.Unlock()
		return
	}
	w.failed = err
	batch = append(batch, w.queue...)
	w.queue = nil
	w.mu.Unlock()
	for _, i := range batch {
		if i.done != nil {
			i.done <- err
		}
	}
	w.host.fail(err)
}

func updateOf(group uint64, a *core.Append) wal.Update {
	u := wal.Update{Group: group, HardState: a.HardState, Entries: a.Entries}
	switch {
	case a.Installed != nil:
		u.Mark, u.Installed = &wal.Mark{Index: a.Installed.Index, Term: a.Installed.Term}, true
	case a.Compact != nil:
		u.Mark = &wal.Mark{Index: a.Compact.Index, Term: a.Compact.Term}
	}
	return u
}
