package outbox

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/backoff"
)

// The pauses between attempts. They are short, since an engine that is away comes back, but for messages that are at fault
// themselves: what is wrong with those does not pass.
const (
	pauseBase   = 200 * time.Millisecond
	pauseMax    = 5 * time.Second
	faultyPause = time.Minute
	// maxHeld bounds the keys and single events of a topic that are held, or Config.Batch does if that is more: a batch that is
	// nothing but messages at fault must not be read again and again while others wait behind it. What fails beyond is
	// read again, after a pause of the whole topic.
	maxHeld = 1000
	// forgetAfter is how long what was let go is remembered, if nothing is heard of it again: somebody else published it.
	forgetAfter = 2 * time.Minute
)

// holds are the keys, single events and topics whose oldest event could not be published. It is pure: it is told the time, and
// is for one goroutine.
type holds struct {
	lanes  map[lane]*hold
	topics map[string]*hold
	most   int                               // lanes of a topic
	spread func(time.Duration) time.Duration // of a pause; a test's is not random
}

// lane is what is published one after the other: a key, or a single event without one.
type lane struct {
	Key
	seq uint64 // 0 with a key
}

func laneOf(e *Event) lane {
	if e.Message.Key != "" {
		return lane{Key: Key{e.Topic, e.Message.Key}}
	}
	return lane{Key{Topic: e.Topic}, e.Seq}
}

type hold struct {
	seq      uint64
	attempts int
	since    time.Time
	until    time.Time
	err      error
	released bool // until has passed
}

func newHolds(batch int) *holds {
	return &holds{
		lanes: make(map[lane]*hold), topics: make(map[string]*hold), most: max(maxHeld, batch),
		spread: func(d time.Duration) time.Duration { return backoff.Jitter(d/2, d) },
	}
}

// settle takes in what became of a batch of one topic and returns what is published. errs is nil, or has one for
// each event.
//
// A batch of which nothing was published holds the topic: it is the engine that does not take it. Otherwise, if all of the batch
// was held before, and for a message that is itself at fault, what failed holds its key, or itself if it has none. Where there
// is no more room for that, the topic is held too; those that have room stay held, so that what is behind them has its turn.
func (h *holds) settle(now time.Time, topic string, events []Event, errs []error) (published []Mark) {
	failed := make(map[lane]bool)
	engine := error(nil) // the first failure that is neither the message's own fault nor a repetition
	var faulty, others []int
	for i := range events {
		err := error(nil)
		if i < len(errs) {
			err = errs[i]
		}
		l := laneOf(&events[i])
		switch {
		case err == nil:
			published = append(published, Mark{events[i].Seq, events[i].Message.ID})
			if !failed[l] {
				delete(h.lanes, l)
			}
		case failed[l]: // held by the one before it
		default:
			failed[l] = true
			if failure.CodeOf(err) == failure.InvalidArgument {
				faulty = append(faulty, i)
				continue
			}
			others = append(others, i)
			if engine == nil && h.lanes[l] == nil {
				engine = err
			}
		}
	}
	room, over := h.most-h.count(topic), error(nil)
	hold := func(i int, longest time.Duration) {
		switch known := h.lanes[laneOf(&events[i])] != nil; {
		case !known && room <= 0:
			over = errs[i]
			return
		case !known:
			room--
		}
		h.hold(now, &events[i], errs[i], longest)
	}
	for _, i := range faulty {
		hold(i, faultyPause)
	}
	if len(published) > 0 {
		delete(h.topics, topic)
	}
	if len(published) > 0 || engine == nil {
		for _, i := range others {
			hold(i, pauseMax)
		}
		if over != nil {
			longest := pauseMax
			if len(others) == 0 {
				longest = faultyPause
			}
			h.holdTopic(now, topic, over, longest)
		}
	} else {
		h.holdTopic(now, topic, engine, pauseMax)
	}
	return published
}

func (h *holds) hold(now time.Time, e *Event, err error, longest time.Duration) {
	l := laneOf(e)
	x := h.lanes[l]
	if x == nil || x.seq != e.Seq {
		x = &hold{seq: e.Seq, since: now}
		h.lanes[l] = x
	}
	x.again(now, err, h.spread, longest)
}

func (h *holds) holdTopic(now time.Time, topic string, err error, longest time.Duration) {
	x := h.topics[topic]
	if x == nil {
		x = &hold{since: now}
		h.topics[topic] = x
	}
	x.again(now, err, h.spread, longest)
}

func (x *hold) again(now time.Time, err error, spread func(time.Duration) time.Duration, longest time.Duration) {
	x.attempts++
	x.err, x.released = err, false
	x.until = now.Add(spread(min(longest, pauseBase<<min(x.attempts-1, 20))))
}

// holds reports whether e has to wait yet: skip has it.
func (h *holds) holds(now time.Time, e *Event) bool {
	l, t := h.lanes[laneOf(e)], h.topics[e.Topic]
	return l != nil && now.Before(l.until) || t != nil && now.Before(t.until)
}

// count returns how many keys and single events of a topic are held.
func (h *holds) count(topic string) (n int) {
	for l := range h.lanes {
		if l.Topic == topic {
			n++
		}
	}
	return n
}

// release lets go what has waited long enough, and reports whether a key or a single event, and whether a topic has since the
// last call. It forgets what was let go long ago, and nothing was heard of since.
func (h *holds) release(now time.Time) (one, topic bool) {
	due := func(x *hold, any *bool) (forget bool) {
		if now.Before(x.until) {
			return false
		}
		*any = *any || !x.released
		x.released = true
		return now.Sub(x.until) > forgetAfter
	}
	maps.DeleteFunc(h.topics, func(_ string, x *hold) bool { return due(x, &topic) })
	maps.DeleteFunc(h.lanes, func(_ lane, x *hold) bool { return due(x, &one) })
	return one, topic
}

// skip returns what has to wait yet.
func (h *holds) skip(now time.Time) (s Skip) {
	for topic, x := range h.topics {
		if now.Before(x.until) {
			s.Topics = append(s.Topics, topic)
		}
	}
	for l, x := range h.lanes {
		switch {
		case !now.Before(x.until):
		case l.seq != 0:
			s.Seqs = append(s.Seqs, l.seq)
		default:
			s.Keys = append(s.Keys, l.Key)
		}
	}
	return s
}

// next returns when something has waited long enough, zero if nothing waits.
func (h *holds) next(now time.Time) (at time.Time) {
	earliest := func(x *hold) {
		if x.until.After(now) && (at.IsZero() || x.until.Before(at)) {
			at = x.until
		}
	}
	for _, x := range h.topics {
		earliest(x)
	}
	for _, x := range h.lanes {
		earliest(x)
	}
	return at
}

// list returns what is held, the longest first.
func (h *holds) list() []Held {
	out := make([]Held, 0, len(h.topics)+len(h.lanes))
	for topic, x := range h.topics {
		out = append(out, Held{Topic: topic, Attempts: x.attempts, Since: x.since, Err: x.err})
	}
	for l, x := range h.lanes {
		out = append(out, Held{Topic: l.Topic, Key: l.Key.Key, Seq: x.seq, Attempts: x.attempts, Since: x.since, Err: x.err})
	}
	slices.SortFunc(out, func(a, b Held) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Seq, b.Seq))
	})
	return out
}
