package sim

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/replica/internal/core"
	"github.com/holdfast-go/holdfast/replica/internal/disk"
	"github.com/holdfast-go/holdfast/replica/internal/snap"
	"github.com/holdfast-go/holdfast/replica/internal/wal"
)

const group = 7

// node is one member and what it runs on: a process that can die and be frozen, a disk that outlives it, a clock of its
// own. It does what the shell of package replica does with goroutines: carries out a core.Work.
type node struct {
	c     *cluster
	place int
	id    uint64
	clock clock

	fs     *disk.Sim
	up     bool
	life   int           // counts starts; what was planned for an earlier one does not happen
	frozen time.Duration // until then
	lost   bool          // its disk was lost: it has to be taken in again

	member  *core.Member
	applier *core.Applier
	machine *machine
	log     *wal.Log
	snaps   *snap.Store
	tick    time.Duration // when the next planned Tick comes
	pumping bool

	queue    []*core.Append // to be written
	writing  []*core.Append // not yet durable
	busy     bool           // the writer is
	work     []job          // for the applier
	applying bool
	waits    []*waiter // requests of clients
}

// job is one item for the applier: an Apply, or, without one, a snapshot to be taken.
type job struct {
	apply *core.Apply
}

// waiter is one request of a client at this member.
type waiter struct {
	answer func([]byte, error)
	over   bool
}

func (n *node) String() string { return fmt.Sprintf("n%d", n.place) }

// clock runs at its own rate from its own beginning.
type clock struct {
	at    time.Time
	since time.Duration
	rate  float64
}

func (c *clock) now(world time.Duration) time.Time {
	return c.at.Add(time.Duration(float64(world-c.since) * c.rate))
}

func (c *clock) setRate(world time.Duration, rate float64) {
	c.at, c.since, c.rate = c.now(world), world, rate
}

// until returns how much of the world's time passes before the clock shows t.
func (c *clock) until(world time.Duration, t time.Time) time.Duration {
	return time.Duration(float64(t.Sub(c.now(world))) / c.rate)
}

func (n *node) now() time.Time { return n.clock.now(n.c.w.now) }

// later plans something that this life of the process does. A frozen process does it when it wakes.
func (n *node) later(d time.Duration, fn func()) {
	life := n.life
	n.c.w.after(d, func() { n.do(life, fn) })
}

func (n *node) do(life int, fn func()) {
	switch {
	case n.life != life || !n.up:
	case n.frozen > n.c.w.now:
		n.c.w.after(n.frozen-n.c.w.now, func() { n.do(life, fn) })
	default:
		fn()
		n.pump()
	}
}

// start begins a life on what the disk holds. An error says that the disk cannot be used.
func (n *node) start() error {
	w := n.c.w
	n.life++
	n.frozen = 0
	log, err := wal.Open(n.fs, "wal", wal.Config{SegmentBytes: n.c.cfg.Segment, Rand: w.rng.Uint64})
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	n.log = log
	if n.snaps, err = snap.Open(n.fs, "snap", snap.Config{Rand: w.rng.Uint64, ChunkBytes: 512}); err != nil {
		return errors.Join(fmt.Errorf("open the snapshots: %w", err), log.Close())
	}
	kept, err := log.Load(group)
	if err != nil {
		return errors.Join(fmt.Errorf("load the group: %w", err), log.Close())
	}
	n.machine = &machine{n: n}
	n.applier = core.NewApplier(n.id, n.machine)
	if kept.Snapshot.Index > 0 {
		if err := n.restore(core.Mark(kept.Snapshot)); err != nil {
			return errors.Join(err, log.Close())
		}
		n.snaps.Retain(group, kept.Snapshot.Index, kept.Snapshot.Term)
	} else if !n.lost {
		return errors.Join(errors.New("the founding snapshot is gone"), log.Close())
	}
	n.member, err = core.New(n.coreConfig(), n.applier, core.Restored{HardState: kept.HardState, Entries: kept.Entries}, n.now())
	if err != nil {
		return errors.Join(fmt.Errorf("start the member: %w", err), log.Close())
	}
	n.up, n.tick = true, -1
	n.busy, n.queue, n.writing, n.work, n.applying, n.waits = false, nil, nil, nil, false, nil
	n.c.starts++
	w.note("%v starts as %x: snapshot %d, %d entries", n, n.id, kept.Snapshot.Index, len(kept.Entries))
	if n.lost {
		n.later(0, n.join)
	}
	n.pump()
	return nil
}

func (n *node) coreConfig() core.Config {
	cfg := n.c.cfg.Core
	cfg.ID, cfg.Group, cfg.Seed = n.id, group, n.c.w.rng.Uint64()
	return cfg
}

// restore gives the applier the snapshot file of a mark.
func (n *node) restore(mark core.Mark) error {
	for _, id := range n.snaps.List(group) {
		if id.Index != mark.Index || id.Term != mark.Term {
			continue
		}
		r, err := n.snaps.Open(id)
		if err != nil {
			return fmt.Errorf("open snapshot %d: %w", mark.Index, err)
		}
		defer r.Close() //nolint:errcheck // of a disk that exists in memory
		if err := n.applier.Restore(r); err != nil {
			return fmt.Errorf("restore snapshot %d: %w", mark.Index, err)
		}
		return nil
	}
	return fmt.Errorf("the snapshot of index %d, term %d, on which the log stands is gone; there are %v", mark.Index, mark.Term, n.snaps.List(group))
}

// stop ends this life: what the process held in memory is gone. With power lost, so is what was not synced.
func (n *node) stop(power bool, why string) {
	if !n.up {
		return
	}
	w := n.c.w
	n.c.w.note("%v ends (power lost: %v): %s", n, power, why)
	if len(n.writing) > 0 && power && w.chance(0.7) {
		n.fs.CrashAt(n.fs.Ops() + 1 + w.rng.IntN(3)) // the write that is under way gets somewhere
		_ = n.log.Append(n.updates())                // nobody hears of it
	}
	n.up = false
	n.life++
	if power {
		n.fs.Crash()
	} else {
		n.fs.Kill()
	}
	for _, wait := range n.waits {
		n.reply(wait, nil, errRetry)
	}
	n.member, n.applier, n.machine, n.log, n.snaps = nil, nil, nil, nil, nil
	for _, other := range n.c.nodes {
		if other != n && other.up && !n.c.net.cut[[2]int{n.place, other.place}] && w.chance(0.7) {
			id := n.id
			other.later(w.between(100*time.Microsecond, 5*time.Millisecond), func() { other.member.PeerDown(other.now(), id) })
		}
	}
}

// fail ends the process because of its own disk; somebody starts it again after a while.
func (n *node) fail(err error) {
	if !n.up {
		return
	}
	n.member.Fail(err)
	n.stop(n.c.w.chance(0.5), "failed: "+err.Error())
	n.c.w.after(n.c.w.between(100*time.Millisecond, 5*time.Second), func() { n.revive() })
}

func (n *node) revive() {
	if n.up {
		return
	}
	n.fs.Inject(nil)
	n.fs.SetCapacity(1 << 62)
	if err := n.start(); err != nil {
		n.c.violate("disk", "%v cannot start: %v", n, err)
	}
}

// pump does what the member wants done.
func (n *node) pump() {
	if !n.up || n.pumping {
		return
	}
	n.pumping = true
	defer func() { n.pumping = false }()
	for range 100 {
		work := n.member.Ready(n.now())
		if work.Err != nil {
			n.fail(work.Err)
			return
		}
		for i := range work.Send {
			n.send(work.Send[i])
		}
		n.queue = append(n.queue, work.Append...)
		n.write()
		for _, item := range work.Apply {
			n.work = append(n.work, job{apply: item})
		}
		if work.Snapshot {
			n.work = append(n.work, job{})
		}
		n.apply()
		if len(work.Send) == 0 && len(work.Append) == 0 && len(work.Apply) == 0 && !work.Snapshot {
			n.planTick()
			n.c.watch(n)
			return
		}
	}
	n.c.violate("busy", "%v: Ready returns work without end", n)
}

func (n *node) planTick() {
	d := min(n.clock.until(n.c.w.now, n.member.NextTick()), n.c.cfg.Core.HeartbeatEvery)
	at := n.c.w.now + max(d, time.Millisecond)
	if n.tick > n.c.w.now && n.tick <= at {
		return
	}
	n.tick = at
	n.later(at-n.c.w.now, func() {
		if n.tick == at || n.tick <= n.c.w.now {
			n.tick = -1
			n.member.Tick(n.now())
		}
	})
}

// send gives a message to the network, in its wire form.
func (n *node) send(msg core.Message) {
	w := n.c.w
	to := n.c.byID(msg.To)
	if to == nil {
		n.later(time.Millisecond, func() { n.member.Unreachable(n.now(), msg.To) })
		return
	}
	if msg.Snapshot != nil {
		n.sendSnapshot(to, msg)
		return
	}
	if !to.up && w.chance(0.5) { // its connection is down: some of what is sent is known to be dropped
		n.later(time.Millisecond, func() { n.member.Unreachable(n.now(), msg.To) })
		return
	}
	arrive := n.parcel(to, msg)
	n.c.net.send(n.place, to.place, arrive)
}

// parcel returns the arrival of a message at the process that has the address then.
func (n *node) parcel(to *node, msg core.Message) func() {
	wire, err := msg.AppendBinary(nil)
	if err != nil {
		n.c.violate("wire", "%v: %v", n, err)
		return func() {}
	}
	id := msg.To
	return func() {
		if to.id != id || !to.up {
			return
		}
		to.later(0, func() {
			got, err := core.ParseMessage(bytes.Clone(wire))
			if err != nil {
				n.c.violate("wire", "%v cannot read what %v sent: %v: %+v %v", to, n, err, msg, msg.Raft)
				return
			}
			to.member.Receive(to.now(), got)
		})
	}
}

// propose takes a command of a client in.
func (n *node) propose(command []byte, once string, deadline time.Duration, answer func([]byte, error)) {
	n.request(answer, func(wait *waiter) {
		p := &core.Proposal{Command: command, Key: once}
		p.Done = func(r core.Result) {
			switch {
			case r.Err == nil:
				n.reply(wait, bytes.Clone(r.Bytes), nil)
			case errors.Is(r.Err, core.ErrOutcomeUnknown), errors.Is(r.Err, core.ErrResultDropped):
				n.reply(wait, nil, fmt.Errorf("%w: %w", errUnknown, r.Err))
			default:
				n.reply(wait, nil, errRetry)
			}
		}
		if err := n.member.Propose(n.now(), p); err != nil {
			n.c.refused++
			n.reply(wait, nil, errRefused)
			return
		}
		n.later(deadline, func() {
			if wait.over {
				return
			}
			pending, sent := n.member.Cancel(p)
			switch {
			case !pending:
				n.c.violate("cancel", "%v: Cancel says that Done was called; it was not", n)
			case sent:
				n.reply(wait, nil, errRetry)
			default:
				n.reply(wait, nil, errRefused)
			}
		})
	})
}

// read answers a client's read from local state when the level allows it.
func (n *node) read(key string, level, deadline time.Duration, answer func([]byte, error)) {
	n.request(answer, func(wait *waiter) {
		local := func() { n.reply(wait, []byte(n.machine.store.Get(key)), nil) }
		if level == anyAge {
			local()
			return
		}
		if level > 0 && n.member.Fresh(n.now(), level) {
			n.c.lazy++
			local()
			return
		}
		r := &core.Read{Done: func(err error) {
			if err != nil {
				n.reply(wait, nil, errRetry)
				return
			}
			if !wait.over {
				local()
			}
		}}
		if err := n.member.Read(n.now(), r); err != nil {
			n.reply(wait, nil, errRetry)
			return
		}
		n.later(deadline, func() {
			if !wait.over {
				if !n.member.CancelRead(r) {
					n.c.violate("cancel", "%v: CancelRead says that Done was called; it was not", n)
				}
				n.reply(wait, nil, errRetry)
			}
		})
	})
}

func (n *node) request(answer func([]byte, error), fn func(*waiter)) {
	if !n.up {
		answer(nil, errRefused)
		return
	}
	n.later(0, func() {
		wait := &waiter{answer: answer}
		n.waits = append(slices.DeleteFunc(n.waits, func(w *waiter) bool { return w.over }), wait)
		fn(wait)
	})
}

func (n *node) reply(wait *waiter, value []byte, err error) {
	if !wait.over {
		wait.over = true
		wait.answer(value, err)
	}
}
