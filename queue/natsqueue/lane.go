package natsqueue

import (
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// maxAhead bounds how many messages of a lane are settled beyond one that is not; those in hand when it is reached may be
	// as many again.
	maxAhead = 1024
	// careful is after how many owners that were lost in a row the messages of a lane are given out one at a time, so
	// that the one that kills them is known.
	careful = 2
)

// lane is one that a member has. It is guarded by the ordered receiver's mutex.
type lane struct {
	n        int
	rec      record // as it is at the server
	revision uint64
	revoked  chan struct{} // closed when it is about to be given up
	gone     bool          // revoked is closed
	leaving  time.Time     // since when; zero for not

	pull     *puller
	attached bool
	count    uint64 // of the consumer's messages so far

	last    uint64            // the last that was fetched
	reach   uint64            // the last that was settled before the lane was taken
	open    []uint64          // fetched and not settled, in their order
	settled map[uint64]bool   // beyond the floor
	skip    map[uint64]bool   // settled before the lane was taken
	back    []returned        // to be given out again
	counts  map[uint64]int    // how often those were given out before
	first   uint64            // the first that was given out since the lane was taken
	version uint64            // grows with everything that is settled
	written uint64            // the version that is at the server
	held    map[uint64]*given // in the hands of the runner
}

type returned struct {
	given
	at time.Time
}

// given is a message that was given out.
type given struct {
	seq     uint64
	message *driver.Message
	stored  time.Time
}

// takeLane begins with a lane as its record has it.
func takeLane(n int, rec record, revision uint64) *lane {
	l := &lane{
		n: n, rec: rec, revision: revision, revoked: make(chan struct{}), last: rec.Floor,
		settled: rec.above(), skip: rec.above(), counts: make(map[uint64]int), held: make(map[uint64]*given),
	}
	for n := range l.skip {
		l.reach = max(l.reach, n)
	}
	return l
}

// claim is the record with which a member takes a lane over.
func claim(was record, owner string) record {
	rec := was
	switch {
	case was.Owner == "", was.Owner == owner: // was given up in order, or lost by somebody who lives
	case was.Floor == was.Taken:
		rec.Deaths++
	default:
		rec.Deaths = 1
	}
	rec.Owner, rec.Taken = owner, was.Floor
	return rec
}

// revoke says that the lane is about to be given up.
func (l *lane) revoke() {
	if !l.gone {
		l.gone = true
		close(l.revoked)
	}
}

// floor is up to where everything is settled.
func (l *lane) floor() uint64 {
	if len(l.open) > 0 {
		return l.open[0] - 1
	}
	return l.last
}

// next is the record to be written.
func (l *lane) next(owner string) record {
	rec := l.rec
	rec.Owner = owner
	if floor := l.floor(); floor > rec.Floor {
		rec.Floor = floor
		if floor > rec.Taken {
			rec.Deaths = 0
		}
	}
	for n := range l.settled {
		if n <= rec.Floor {
			delete(l.settled, n)
		}
	}
	rec.setAbove(l.settled)
	return rec
}

// fetched notes a message and reports whether it is to be given out: it may have been settled by another owner.
func (l *lane) fetched(seq uint64) bool {
	if seq <= l.last {
		return false
	}
	l.last = seq
	if l.skip[seq] {
		delete(l.skip, seq)
		if len(l.open) == 0 { // the floor is here
			delete(l.settled, seq)
		}
		return false
	}
	l.open = append(l.open, seq)
	return true
}

// again reports whether a message may be given out that was returned.
func (l *lane) again() bool {
	return l.leaving.IsZero() && (l.rec.Deaths < careful || len(l.held) == 0)
}

// ready reports whether another message may be given out. What the owner before had fetched always may: among it is what holds
// the floor down.
func (l *lane) ready() bool {
	return l.again() && (l.rec.Deaths < careful || len(l.back) == 0) &&
		(l.last < l.reach || len(l.settled) < maxAhead && len(l.settled)+len(l.held)+len(l.back) < 2*maxAhead)
}

// give puts a message into the hands of the runner.
func (l *lane) give(g given) *driver.Delivery {
	if l.first == 0 {
		l.first = g.seq
	}
	l.held[g.seq] = &g
	l.counts[g.seq]++
	count := l.counts[g.seq]
	if g.seq == l.first {
		count += l.rec.Deaths
	}
	return &driver.Delivery{
		Message: g.message, Count: count, Stored: g.stored, Revoked: l.revoked, Ref: ref{l, g.seq},
	}
}

type ref struct {
	lane *lane
	seq  uint64
}

// settle takes a message out of hand for good; false if it is not in hand.
func (l *lane) settle(seq uint64) bool {
	if l.held[seq] == nil {
		return false
	}
	delete(l.held, seq)
	delete(l.counts, seq)
	for i, n := range l.open {
		if n == seq {
			l.open = append(l.open[:i], l.open[i+1:]...)
			break
		}
	}
	l.settled[seq] = true
	l.version++
	return true
}

// takeBack takes a message out of hand that is to be given out again.
func (l *lane) takeBack(seq uint64, at time.Time) bool {
	g := l.held[seq]
	if g == nil {
		return false
	}
	delete(l.held, seq)
	l.back = append(l.back, returned{*g, at})
	return true
}

// due returns one that was returned and has waited for long enough.
func (l *lane) due(now time.Time) (given, bool) {
	for i, r := range l.back {
		if !r.at.After(now) {
			l.back = append(l.back[:i], l.back[i+1:]...)
			return r.given, true
		}
	}
	return given{}, false
}

// waits is until when something that was returned waits; false if nothing does.
func (l *lane) waits() (at time.Time, ok bool) {
	for _, r := range l.back {
		if !ok || r.at.Before(at) {
			at, ok = r.at, true
		}
	}
	return at, ok
}
