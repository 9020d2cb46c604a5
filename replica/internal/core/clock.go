package core

import (
	"math"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// maxStep is how far a new leader's clock may be ahead of the time of the log at once.
const maxStep = time.Second

// logClock makes the times of a leader's entries. They follow its wall clock, within bounds: from one entry to the next
// they go on by at least nine tenths and at most eleven tenths of the time that has gone by. So a leader whose wall clock is
// hours ahead, or whose clock is set, ends nothing early that has a time to live; and when it was behind, nothing lives
// for ever. A clock that is off is followed at that pace.
//
// That needs a time to begin with: of an entry that this member has seen come in since it began. One that leads without
// having seen any, as after all were down, goes by its wall clock; where that is behind the log, by the log, from where
// it stands.
type logClock struct {
	last  int64 // time of the newest entry, in ns of Unix time
	at    time.Time
	known bool
	step  time.Duration // allowed once
	floor int64         // time of the newest entry there was when this member began to lead
}

// observe takes the time of an entry that came in at now.
func (c *logClock) observe(t int64, now time.Time) {
	if t >= c.last {
		c.last, c.at, c.known = t, now, true
	}
}

// lead begins a leadership. floor is the time of the newest entry in the log. All of that comes before this leader's
// entries, and nobody's time goes back: with less than that, time would stand still until the wall clock is there.
func (c *logClock) lead(floor int64) { c.step, c.floor = maxStep, floor }

// next returns the time for an entry that is made now.
func (c *logClock) next(now time.Time) int64 {
	t := now.UnixNano()
	if c.known {
		passed := int64(max(0, now.Sub(c.at)))
		t = min(max(t, c.last+passed-passed/10), c.last+passed+passed/10+int64(c.step))
	}
	t = max(t, c.floor)
	c.step = 0
	c.observe(t, now)
	return t
}

// newest returns the time of the newest entry that this member has: on its disk, or applied.
func (m *Member) newest() int64 {
	t := m.applier.newest.Load()
	last, err := m.log.LastIndex()
	if err != nil {
		return t
	}
	// From the end, since times never go back: the last that has one is the newest.
	for i := last; i > m.applied.Load(); i-- {
		entries, err := m.log.Entries(i, i+1, math.MaxUint64)
		if err != nil { // compacted: applied, too
			return t
		}
		for _, e := range entries {
			if h, ok := headerOf(e); ok {
				return max(t, h.time)
			}
		}
	}
	return t
}

// headerOf returns the header of an entry; ok is false if it has none.
func headerOf(e *raftpb.Entry) (h entryHeader, ok bool) {
	if e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 {
		return h, false
	}
	h, _, err := parseEntryHeader(e.GetData())
	return h, err == nil
}
