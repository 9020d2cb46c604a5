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
}

// write is something to be written: an Append of a member, or an update of the shell with its end.
type write struct {
	member *member
	append *core.Append
	update wal.Update
	done   chan error // capacity 1
}

func newWriter(h *Host) *writer { return &writer{host: h, wake: make(chan struct{}, 1)} }

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
	return <-done
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

// maxUnsynced bounds what waits for the next write that must be durable.
const maxUnsynced = 512

// run writes until stop, and everything that was pushed before it.
func (w *writer) run() {
	var batch []write
	var updates, unsynced []wal.Update
	for range w.wake {
		for {
			w.mu.Lock()
			batch, w.queue = w.queue, batch[:0]
			ended := w.ended
			w.mu.Unlock()
			if len(batch) == 0 {
				if !ended {
					break
				}
				if len(unsynced) > 0 {
					if err := w.host.wal.Append(unsynced); err != nil {
						w.fail(err, nil)
					}
				}
				return
			}
			sync := len(unsynced) > maxUnsynced
			for _, i := range batch {
				sync = sync || i.done != nil || i.member.mustSync(i.append)
			}
			updates = updates[:0]
			if sync {
				updates = append(updates, unsynced...)
				clear(unsynced)
				unsynced = unsynced[:0]
			}
			for _, i := range batch {
				u := i.update
				if i.append != nil {
					u = updateOf(i.member.group.id, i.append)
				}
				if u.Meta == nil && u.Mark == nil && len(u.Entries) == 0 && u.HardState == nil && !u.Drop {
					continue
				}
				if sync {
					updates = append(updates, u)
				} else {
					unsynced = append(unsynced, u)
				}
			}
			if len(updates) > 0 && !w.write(updates, batch) {
				continue
			}
			w.tell(batch)
			clear(updates)
			clear(batch)
		}
	}
}

// write makes updates durable; false: that failed, and everybody knows.
func (w *writer) write(updates []wal.Update, batch []write) bool {
	began := time.Now()
	if err := w.host.wal.Append(updates); err != nil {
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

// tell reports what is durable, or does not need to be.
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
			// The log stands on this one from now on; those before it may go.
			w.host.snaps.Retain(u.Group, u.Mark.Index, u.Mark.Term)
		}
		i.member.input(input{kind: persisted, append: i.append})
	}
}

func (w *writer) fail(err error, batch []write) {
	w.mu.Lock()
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

// mustSync reports whether an Append has to be durable before anybody hears of it. What only moves the commit index, or
// answers for entries that are durable already, has not: a member that forgets it hears it again. For the writer.
func (m *member) mustSync(a *core.Append) bool {
	hs := a.HardState
	if hs != nil && (hs.GetTerm() != m.durable.term || hs.GetVote() != m.durable.vote) {
		m.durable.term, m.durable.vote = hs.GetTerm(), hs.GetVote()
		return true
	}
	return len(a.Entries) > 0 || a.Installed != nil || a.Compact != nil
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
