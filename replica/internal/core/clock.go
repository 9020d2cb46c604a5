package core

import "time"

// maxStep is how far a new leader's clock may be ahead of the time of the log at once.
const maxStep = time.Second

// logClock makes the times of a leader's entries. They follow its wall clock, within bounds: from one entry to the next
// they go on by at least nine tenths and at most eleven tenths of the time that has gone by. So a leader whose wall clock is
// hours ahead, or whose clock is set, ends nothing early that has a time to live; and when it was behind, nothing lives
// for ever. A clock that is off is followed at that pace.
//
// That needs a time to begin with: of an entry that this member has seen come in since it began. One that leads without
// having seen any, as after all were down, goes by its wall clock.
type logClock struct {
	last  int64 // time of the newest entry, in ns of Unix time
	at    time.Time
	known bool
	step  time.Duration // allowed once
}

// observe takes the time of an entry that came in at now.
func (c *logClock) observe(t int64, now time.Time) {
	if t >= c.last {
		c.last, c.at, c.known = t, now, true
	}
}

// lead begins a leadership.
func (c *logClock) lead() { c.step = maxStep }

// next returns the time for an entry that is made now.
func (c *logClock) next(now time.Time) int64 {
	t := now.UnixNano()
	if c.known {
		passed := int64(max(0, now.Sub(c.at)))
		t = min(max(t, c.last+passed-passed/10), c.last+passed+passed/10+int64(c.step))
	}
	c.step = 0
	c.observe(t, now)
	return t
}
