package core

import (
	"cmp"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Bounds of what is kept for repetitions; the same on every member.
const (
	maxSessions         = 1024
	maxSessionsOfMember = 4       // one is in use; the others are of earlier starts, or of a request that came twice
	maxSessionBytes     = 8 << 20 // of results; beyond it the oldest are dropped, the knowledge that they were applied is not
	maxKeyBytes         = 64 << 20

	// MaxResult bounds the result of one command.
	MaxResult = 16 << 20
)

// kept is the outcome of one command.
type kept struct {
	applied, dropped bool
	bytes            []byte
	err              *failure.Error
}

func (k *kept) size() int {
	n := len(k.bytes)
	if k.err != nil {
		n += 64 + len(k.err.Message) + len(k.err.Reason) + len(k.err.Domain)
		for key, value := range k.err.Metadata {
			n += len(key) + len(value)
		}
		for _, v := range k.err.Violations {
			n += len(v.Field) + len(v.Description)
		}
	}
	return n
}

func (k *kept) result() Result {
	switch {
	case k.dropped:
		return Result{Err: ErrResultDropped}
	case k.err != nil:
		return Result{Err: k.err}
	}
	return Result{Bytes: k.bytes}
}

// session is what the group knows of one start of one member: which of its commands were applied, and how.
type session struct {
	id, origin, nonce uint64
	used              uint64 // index of the entry that used it last
	low               uint64 // numbers below are not asked for again
	window            []kept // of low, low+1, …
	head              int    // where low is in window: what is before is free
	bytes             int
	trimmed           int // so many from low on have been looked at for dropping
}

// acknowledge forgets what is below low.
func (s *session) acknowledge(low uint64) {
	for s.low < low && s.head < len(s.window) {
		s.bytes -= s.window[s.head].size()
		s.window[s.head] = kept{}
		s.head++
		s.low++
		s.trimmed = max(s.trimmed-1, 0)
	}
	s.low = max(s.low, low)
	if s.head == len(s.window) {
		s.window, s.head = s.window[:0], 0
	} else if s.head > 64 && s.head*2 > len(s.window) {
		n := copy(s.window, s.window[s.head:])
		clear(s.window[n:])
		s.window, s.head = s.window[:n], 0
	}
}

// at returns the place of a number that is not below low and within maxWindow of it.
func (s *session) at(seq uint64) *kept {
	i := s.head + int(seq-s.low)
	for len(s.window) <= i {
		s.window = append(s.window, kept{})
	}
	return &s.window[i]
}

// keep stores an outcome and drops older ones that there is no room for.
func (s *session) keep(place *kept, k kept) {
	*place = k
	s.bytes += k.size()
	for s.bytes > maxSessionBytes && s.head+s.trimmed < len(s.window)-1 {
		if old := &s.window[s.head+s.trimmed]; old.applied && !old.dropped && old != place {
			s.bytes -= old.size()
			*old = kept{applied: true, dropped: true}
		}
		s.trimmed++
	}
}

// sessions is the table of all sessions. Few enough to be searched.
type sessions struct {
	last uint64 // highest id ever given
	byID map[uint64]*session
}

// open returns the id of the session for a request, the same one if the request is a repetition.
func (t *sessions) open(origin, nonce, index uint64) *session {
	var mine []*session
	for _, s := range t.byID {
		if s.origin == origin {
			if s.nonce == nonce {
				s.used = index
				return s
			}
			mine = append(mine, s)
		}
	}
	if len(mine) >= maxSessionsOfMember {
		t.expire(mine)
	}
	if len(t.byID) >= maxSessions {
		all := make([]*session, 0, len(t.byID))
		for _, s := range t.byID {
			all = append(all, s)
		}
		t.expire(all)
	}
	t.last = max(t.last+1, index)
	s := &session{id: t.last, origin: origin, nonce: nonce, used: index, low: 1}
	t.byID[s.id] = s
	return s
}

// expire forgets the one of some sessions that was used longest ago.
func (t *sessions) expire(some []*session) {
	oldest := slices.MinFunc(some, func(a, b *session) int {
		if a.used != b.used {
			return cmp.Compare(a.used, b.used)
		}
		return cmp.Compare(a.id, b.id)
	})
	delete(t.byID, oldest.id)
}

// keyed is the outcome of the command that came first with a key.
type keyed struct {
	key  string
	time int64
	kept
}

// keys are the Once keys, in the order in which they came.
type keys struct {
	byKey map[string]*keyed
	order []*keyed
	head  int
	bytes int
}

func (t *keys) size(k *keyed) int { return 64 + len(k.key) + k.kept.size() }

// forget drops what is too old or too much, by the limits of the entry at hand, and returns how many were not too old.
func (t *keys) forget(now int64, h entryHeader) (early uint64) {
	for t.head < len(t.order) {
		k := t.order[t.head]
		if young := time.Duration(now-k.time) <= h.keyAge; young {
			if len(t.byKey) <= h.maxKeys && t.bytes <= maxKeyBytes {
				break
			}
			early++
		}
		t.order[t.head] = nil
		t.head++
		t.bytes -= t.size(k)
		delete(t.byKey, k.key)
	}
	if t.head > 1024 && t.head*2 > len(t.order) {
		n := copy(t.order, t.order[t.head:])
		clear(t.order[n:])
		t.order, t.head = t.order[:n], 0
	}
	return early
}

func (t *keys) add(k *keyed) {
	t.byKey[k.key] = k
	t.order = append(t.order, k)
	t.bytes += t.size(k)
}
