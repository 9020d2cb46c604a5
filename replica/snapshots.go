package replica

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/replica/internal/core"
	"github.com/holdfast-go/holdfast/replica/internal/snap"
	"github.com/holdfast-go/holdfast/replica/internal/transport"
)

// restore gives the applier the snapshot of a mark.
func (m *member) restore(mark core.Mark) error {
	snaps := m.group.host.snaps
	for _, id := range snaps.List(m.group.id) {
		if id.Index != mark.Index || id.Term != mark.Term {
			continue
		}
		r, err := snaps.Open(id)
		if err != nil {
			return err
		}
		defer r.Close() //nolint:errcheck // it was only read
		if err := m.applier.Restore(r); err != nil {
			return fmt.Errorf("snapshot %d: %w", mark.Index, err)
		}
		return nil
	}
	return failure.New(failure.DataLoss, "the snapshot at index %d, on which the log stands, is not in %s", mark.Index, m.group.host.cfg.Dir)
}

// errNoSnapshot is that of a message which says that there is a snapshot where there is none.
var errNoSnapshot = failure.New(failure.InvalidArgument, "a message of a snapshot that has not come with it")

// installed takes the message of a snapshot whose file is in the store.
func (m *member) installed(from string, a transport.Address, id snap.ID, body []byte) error {
	if err := m.accept(a, id); err != nil {
		return err
	}
	msg, err := core.ParseMessage(body)
	switch {
	case err != nil:
		return failure.Wrap(err, failure.InvalidArgument, "the message of a snapshot cannot be read")
	case msg.From != a.From || msg.To != a.To || msg.Snapshot == nil || *msg.Snapshot != (core.Mark{Index: id.Index, Term: id.Term}) ||
		!slices.Contains(m.group.host.snaps.List(m.group.id), id):
		return errNoSnapshot
	}
	m.hear(from, msg)
	return nil
}

// sendSnapshot sends a snapshot and its message, beside everything else.
func (m *member) sendSnapshot(msg core.Message) {
	if _, busy := m.sending.LoadOrStore(msg.To, true); busy {
		return
	}
	m.start(func() {
		began := time.Now()
		name := m.name(msg.To)
		n, err := m.transfer(name, msg)
		m.sending.Delete(msg.To)
		if err != nil {
			m.group.log.Warn("a snapshot was not sent, it is tried again", "to", name, "error", err)
		} else {
			m.stats.sent.Add(1)
			m.group.log.Info("snapshot sent", "to", name, "bytes", n, "took", time.Since(began))
		}
		if o := m.group.host.cfg.Observer; o != nil {
			o.Snapshotted(m.group.name, name, n, time.Since(began), err)
		}
		m.input(input{kind: call, call: func(now time.Time) { m.core.SnapshotSent(now, msg.To, err == nil) }})
	})
}

func (m *member) transfer(name string, msg core.Message) (int64, error) {
	for _, id := range m.group.host.snaps.List(m.group.id) {
		if id.Index == msg.Snapshot.Index && id.Term == msg.Snapshot.Term {
			a := transport.Address{Group: m.group.id, Cluster: m.cluster, From: m.id, To: msg.To}
			return m.group.host.net.SendSnapshot(m.ctx, name, a, id, &msg)
		}
	}
	return 0, fmt.Errorf("snapshot %d is not there any more", msg.Snapshot.Index)
}

// accept says whether a snapshot may come.
func (m *member) accept(a transport.Address, id snap.ID) error {
	if a.Cluster != m.cluster || a.To != m.id || id.Group != m.group.id {
		return ErrForeign.With("a snapshot for another member, or of another cluster")
	}
	return nil
}

// snapshot takes a snapshot and writes it while later entries are applied.
func (m *member) snapshot() {
	began := time.Now()
	c, err := m.applier.Snapshot()
	if err != nil {
		m.snapshotted(c, 0, began, err)
		return
	}
	m.work.Go(func() {
		defer m.release(c)
		size, err := m.write(c)
		m.snapshotted(c, size, began, err)
	})
}

func (m *member) write(c *core.Capture) (size int64, err error) {
	return writeSnapshot(m.ctx, m.group.host.snaps, m.group.host.pace, m.group.id, c)
}

// release frees what the machine keeps for a capture.
func (m *member) release(c *core.Capture) {
	err := lifecycle.Recover(func() error {
		c.Release()
		return nil
	})
	if err != nil {
		m.group.log.Error("the machine did not release what a snapshot kept", "error", err)
	}
}

const (
	// paceBytes is what is written of a snapshot at once.
	paceBytes = 256 << 10
	// maxPause bounds the wait after such a piece.
	maxPause = 250 * time.Millisecond
)

// writeSnapshot writes a capture to a file, no faster than pace says (nil: at once): the log is on the same disk.
func writeSnapshot(ctx context.Context, snaps *snap.Store, pace *rate.Limiter, group uint64, c *core.Capture) (int64, error) {
	w, err := snaps.Create(group, c.Mark.Index, c.Mark.Term)
	if err != nil {
		return 0, err
	}
	counted := &counter{ctx: ctx, pace: pace, w: w}
	// Nothing of the state depends on it: a machine that panics here has taken no snapshot, and goes on.
	if err := lifecycle.Recover(func() error { return c.Write(counted) }); err != nil {
		w.Abort()
		return 0, err
	}
	return counted.n, w.Commit()
}

// counter counts what is written, slows it down, and ends it with ctx.
type counter struct {
	ctx  context.Context //nolint:containedctx // of one call
	pace *rate.Limiter
	w    io.Writer
	n    int64
}

// Write implements io.Writer.
func (c *counter) Write(b []byte) (written int, err error) {
	for len(b) > 0 && err == nil {
		n := min(len(b), paceBytes)
		if n, err = c.piece(b[:n]); err == nil {
			b = b[n:]
		}
		written += n
	}
	c.n += int64(written)
	return written, err
}

func (c *counter) piece(b []byte) (int, error) {
	if c.pace == nil {
		return c.w.Write(b)
	}
	if err := c.pace.WaitN(c.ctx, len(b)); err != nil {
		return 0, err
	}
	began := time.Now()
	n, err := c.w.Write(b)
	// Half of a disk that is slower than that stays for the log.
	backoff.Pause(c.ctx, min(time.Since(began), maxPause))
	return n, err
}

func (m *member) snapshotted(c *core.Capture, size int64, began time.Time, err error) {
	if o := m.group.host.cfg.Observer; o != nil {
		o.Snapshotted(m.group.name, "", size, time.Since(began), err)
	}
	if err != nil {
		m.input(input{kind: call, call: func(now time.Time) { m.core.SnapshotFailed(now, err) }})
		return
	}
	m.stats.snapshots.Add(1)
	m.stats.index.Store(int64(c.Mark.Index)) //nolint:gosec // an index is far below
	m.stats.bytes.Store(size)
	m.stats.time.Store(time.Now().UnixNano())
	m.input(input{kind: call, call: func(now time.Time) { m.core.SnapshotSaved(now, c, size) }})
}
