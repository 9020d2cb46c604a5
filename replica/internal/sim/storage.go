package sim

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/holdfast-go/holdfast/replica/internal/core"
	"github.com/holdfast-go/holdfast/replica/internal/snap"
	"github.com/holdfast-go/holdfast/replica/internal/wal"
)

// write has the disk writer take what is queued, if it is idle.
func (n *node) write() {
	if n.busy || len(n.queue) == 0 {
		return
	}
	n.busy = true
	n.writing, n.queue = n.queue, nil
	content := n.updates()
	if len(content) == 0 { // answers that only had to wait for what is durable by now
		n.later(0, n.written)
		return
	}
	took := n.c.w.between(n.c.cfg.Sync/10, n.c.cfg.Sync)
	if n.c.w.chance(0.01) {
		took = n.c.w.between(n.c.cfg.Sync, 500*time.Millisecond)
	}
	n.later(took, func() {
		if err := n.log.Append(content); err != nil {
			n.fail(err)
			return
		}
		n.written()
	})
}

// written sends what had to wait for the disk, and tells the member, which may hear of it later.
func (n *node) written() {
	done := n.writing
	n.writing = nil
	for _, a := range done {
		for _, mark := range []*core.Mark{a.Installed, a.Compact} {
			if mark != nil {
				n.snaps.Retain(group, mark.Index, mark.Term)
			}
		}
		for _, msg := range a.Send {
			n.send(msg)
		}
	}
	tell := func() {
		for _, a := range done {
			n.member.Persisted(n.now(), a)
		}
		n.busy = false // not before: Persisted comes in order
		n.write()
	}
	if n.c.w.chance(0.7) {
		tell()
		return
	}
	n.later(n.c.w.between(10*time.Microsecond, 20*time.Millisecond), tell)
}

// updates is what the log is told of the appends that are being written.
func (n *node) updates() []wal.Update {
	var out []wal.Update
	for _, a := range n.writing {
		u := wal.Update{Group: group, HardState: a.HardState, Entries: a.Entries}
		switch {
		case a.Installed != nil:
			u.Mark, u.Installed = new(wal.Mark(*a.Installed)), true
		case a.Compact != nil:
			u.Mark = new(wal.Mark(*a.Compact))
		}
		if content := u.HardState != nil || len(u.Entries) > 0 || u.Mark != nil; content != a.Sync {
			n.c.violate("append", "%v: an Append with Sync %v and %+v", n, a.Sync, u)
		} else if content {
			out = append(out, u)
		}
	}
	return out
}

// apply has the applier take the next item, if it is idle.
func (n *node) apply() {
	if n.applying || len(n.work) == 0 {
		return
	}
	n.applying = true
	n.later(n.c.w.between(n.c.cfg.Apply/10, n.c.cfg.Apply), func() {
		item := n.work[0]
		n.work = n.work[1:]
		if item.apply == nil {
			n.applying = false
			n.snapshot()
			n.apply()
			return
		}
		var err error
		if item.apply.Restore != nil {
			err = n.restore(*item.apply.Restore)
		} else {
			err = n.applier.Apply(item.apply)
		}
		if err != nil {
			n.c.violate("apply", "%v: %v", n, err)
			n.fail(err)
			return
		}
		tell := func() {
			n.applying = false
			n.member.Applied(n.now(), item.apply)
			n.apply()
		}
		if n.c.w.chance(0.7) {
			tell()
			return
		}
		n.later(n.c.w.between(10*time.Microsecond, 20*time.Millisecond), tell)
	})
}

// snapshot captures the state now and writes it a while later, while commands go on being applied.
func (n *node) snapshot() {
	capture, err := n.applier.Snapshot()
	if err != nil {
		n.c.violate("snapshot", "%v: %v", n, err)
		return
	}
	n.later(n.c.w.between(time.Millisecond, 300*time.Millisecond), func() {
		defer capture.Release()
		size, err := n.save(capture)
		if err != nil {
			n.c.w.note("%v: no snapshot of %d: %v", n, capture.Mark.Index, err)
			n.member.SnapshotFailed(n.now(), err)
			return
		}
		n.c.snapshots++
		n.member.SnapshotSaved(n.now(), capture, size)
	})
}

// save writes a capture and returns its size.
func (n *node) save(capture *core.Capture) (int64, error) {
	f, err := n.snaps.Create(group, capture.Mark.Index, capture.Mark.Term)
	if err != nil {
		return 0, err
	}
	var b bytes.Buffer
	if err := capture.Write(io.MultiWriter(f, &b)); err != nil {
		f.Abort()
		return 0, err
	}
	return int64(b.Len()), f.Commit()
}

// sendSnapshot sends the file that a message announces, in two halves, and then the message.
func (n *node) sendSnapshot(to *node, msg core.Message) {
	w := n.c.w
	result := func(ok bool) {
		n.later(w.between(time.Millisecond, 50*time.Millisecond), func() { n.member.SnapshotSent(n.now(), msg.To, ok) })
	}
	id, content, err := n.snapshotFile(*msg.Snapshot)
	if err != nil {
		w.note("%v has no file for %v: %v", n, to, err)
		result(false)
		return
	}
	open := func() bool {
		return to.up && to.id == msg.To && !n.c.net.cut[[2]int{n.place, to.place}] && !n.c.net.cut[[2]int{to.place, n.place}] && !w.chance(n.c.net.loss)
	}
	arrive := n.parcel(to, msg)
	w.note("%v sends %v the snapshot of %d, %d bytes", n, to, msg.Snapshot.Index, len(content))
	half := w.between(time.Millisecond, 200*time.Millisecond)
	w.after(half, func() {
		if !open() {
			result(false)
			return
		}
		to.later(0, func() {
			if err := to.receive(id, content, len(content)/2); err != nil {
				result(false)
				return
			}
			w.after(half, func() {
				if !open() {
					result(false)
					return
				}
				to.later(0, func() {
					err := to.receive(id, content, len(content))
					if err != nil {
						w.note("%v cannot keep the snapshot of %d: %v", to, id.Index, err)
						result(false)
						return
					}
					arrive()
					result(true)
					n.c.installs++
				})
			})
		})
	})
}

func (n *node) snapshotFile(mark core.Mark) (snap.ID, []byte, error) {
	for _, id := range n.snaps.List(group) {
		if id.Index == mark.Index && id.Term == mark.Term {
			raw, err := n.snaps.Raw(id)
			if err != nil {
				return id, nil, err
			}
			defer raw.Close()
			content := make([]byte, raw.Size())
			if _, err := io.ReadFull(io.NewSectionReader(raw, 0, raw.Size()), content); err != nil {
				return id, nil, err
			}
			return id, content, nil
		}
	}
	return snap.ID{}, nil, fmt.Errorf("no snapshot of index %d, term %d among %v", mark.Index, mark.Term, n.snaps.List(group))
}

// receive takes a snapshot's file up to the byte end, from where it stands; at its end it becomes part of the store.
func (n *node) receive(id snap.ID, content []byte, end int) error {
	for _, have := range n.snaps.List(group) {
		if have == id {
			return nil
		}
	}
	r, err := n.snaps.Receive(id, int64(len(content)))
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // of a disk that exists in memory
	if from := int(r.Offset()); from < end {
		if _, err := io.Copy(r, bytes.NewReader(content[from:end])); err != nil {
			return err
		}
	}
	if end < len(content) {
		return nil
	}
	return r.Commit()
}
