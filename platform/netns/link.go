package netns

import "time"

const (
	// maxHeld bounds the bytes on their way between two ends.
	maxHeld = 8 << 20
	// minHeld is what may wait for the slowest rate: a packet of the largest size and some small ones.
	minHeld = 64<<10 + 4<<10
	// maxYoung bounds the connections that are known to have been made after a reset. Those beyond are left alone.
	maxYoung = 1 << 16
)

// fate is what becomes of a packet.
type fate int

const (
	arrives fate = iota // at the time that take returned
	lost
	refused // and its sender is told so
	aborted // and both ends are told so
)

// link is one direction between two ends, as a pure decision: packets and times in, fates and times out.
type link struct {
	effect effect
	// free is when Rate lets the next packet begin, last when the one before arrives: none arrives before it.
	free, last time.Time
	// held is the bytes that have been taken and have not arrived; the caller counts them down.
	held int
	// young are connections that were seen to begin since round, which is the reset that is in force.
	young map[flow]struct{}
	round time.Time
}

// set changes what holds from now on. Those on their way keep their order; the caller asks hurry when they arrive.
func (l *link) set(e effect, now time.Time) {
	l.effect = e
	l.free, l.last = time.Time{}, now
}

// hurry is when a packet that was to arrive at some time arrives now that the effect is another: not later than one that is
// sent now, so that what is mended is mended at once.
func (l *link) hurry(now, at time.Time) time.Time {
	if latest := now.Add(l.effect.delay); at.After(latest) {
		at = latest
	}
	if at.Before(l.last) {
		at = l.last
	}
	l.last = at
	return at
}

// take decides about a packet of size bytes. draw returns a number in [0, 1).
func (l *link) take(now time.Time, p packet, size int, draw func() float64) (time.Time, fate) {
	e := l.effect
	if e.cut || e.lossy && draw() >= e.kept {
		return now, lost
	}
	if p.segment != nil && p.flags()&flagRST == 0 {
		if e.refuse && p.flags()&(flagSYN|flagACK) == flagSYN {
			return now, refused
		}
		if l.isOld(now, p) {
			return now, aborted
		}
	} else if e.refuse && p.segment == nil {
		return now, lost
	}
	if l.held+size > l.room() {
		return now, lost
	}
	at := now
	if e.rate > 0 {
		if l.free.Before(now) {
			l.free = now
		}
		l.free = l.free.Add(time.Duration(float64(size) / float64(e.rate) * float64(time.Second)))
		at = l.free
	}
	at = at.Add(e.delay)
	if e.jitter > 0 {
		at = at.Add(time.Duration(draw() * float64(e.jitter)))
	}
	if at.Before(l.last) {
		at = l.last
	}
	l.last = at
	return at, arrives
}

// room is how many bytes may be on their way.
func (l *link) room() int {
	if l.effect.rate == 0 {
		return maxHeld
	}
	return int(min(max(l.effect.rate/2, minHeld), maxHeld))
}

// isOld reports whether a packet is of a connection that a reset is to end.
func (l *link) isOld(now time.Time, p packet) bool {
	e := l.effect
	if e.resets.IsZero() {
		l.young = nil
		return false
	}
	round := e.resets
	if e.every > 0 {
		round = round.Add(now.Sub(round).Truncate(e.every))
	}
	if !round.Equal(l.round) || l.young == nil {
		l.round, l.young = round, make(map[flow]struct{})
	}
	_, young := l.young[p.flow()]
	switch {
	case young || len(l.young) >= maxYoung:
		return false
	case p.flags()&flagSYN != 0:
		l.young[p.flow()] = struct{}{}
		return false
	}
	return true
}
