package fault

import "time"

// lane is one direction of a connection that has, or had, a shape. Its connection's mu guards it.
//
// When a piece may go on is worked out when it is at the head, from the shape that is in force then: a rule that is
// lifted lets go at once what it held back. Pieces never overtake each other.
type lane struct {
	pieces []piece
	size   int // in bytes, with those that are just being handed on
	moving bool
	end    error // what the network said last: no more comes, or goes

	deadline time.Time // the user's

	free time.Time // when the last piece has passed the bottleneck of Shape.Rate
	rest []byte    // of a piece that was read in part
}

// piece is some bytes of a stream, or its end.
type piece struct {
	data []byte
	at   time.Time // when it got here
	luck float64   // its share of Shape.Jitter, in [0, 1)
	end  ending
}

type ending int

const (
	noEnd ending = iota
	halfEnd
	wholeEnd
)

const (
	largest  = 16 << 10
	smallest = 512
	// together is how much later something may come and still go with what came before.
	together = time.Millisecond
	// most pieces are in a lane, so that small ones do not take many times the memory of their bytes.
	most = 1 << 14
)

// holds reports whether the shape does anything to bytes.
func (s *Shape) holds() bool {
	return s.CutOut || s.CutIn || s.Delay > 0 || s.Jitter > 0 || s.Rate > 0
}

func (l *lane) idle() bool { return !l.moving && len(l.pieces) == 0 && len(l.rest) == 0 }

// room is how many bytes more the lane takes.
func (l *lane) room() int {
	if len(l.pieces) >= most {
		return 0
	}
	return lanes - l.size
}

func (l *lane) drop() { l.pieces, l.rest, l.size = nil, nil, 0 }

// push adds a copy of b, in pieces that are small where the rate is: a twentieth of a second each.
func (l *lane) push(s *Shape, b []byte, luck float64) {
	size := largest
	if s.Rate > 0 {
		size = int(min(max(s.Rate/20, smallest), largest))
	}
	now := time.Now()
	l.size += len(b)
	if k := len(l.pieces) - 1; k >= 0 {
		last := &l.pieces[k]
		cutAlone := s.holds() && s.Delay <= 0 && s.Jitter <= 0 && s.Rate <= 0
		if n := min(size-len(last.data), len(b)); n > 0 && last.end == noEnd && (cutAlone || now.Sub(last.at) < together) {
			last.data = append(last.data, b[:n]...)
			b = b[n:]
		}
	}
	b = append([]byte(nil), b...)
	for len(b) > 0 {
		n := min(size, len(b))
		l.pieces = append(l.pieces, piece{data: b[:n:n], at: now, luck: luck})
		b = b[n:]
	}
}

func (l *lane) pushEnd(e ending, luck float64) {
	l.pieces = append(l.pieces, piece{at: time.Now(), luck: luck, end: e})
}

// passed is when the head has passed the bottleneck.
func (l *lane) passed(s *Shape) time.Time {
	p := &l.pieces[0]
	t := p.at
	if s.Rate <= 0 {
		return t
	}
	if l.free.After(t) {
		t = l.free
	}
	return t.Add(time.Duration(float64(len(p.data)) / float64(s.Rate) * float64(time.Second)))
}

// due is when the head may go on, cuts aside; zero without a head.
func (l *lane) due(s *Shape) time.Time {
	if len(l.pieces) == 0 {
		return time.Time{}
	}
	if s.Delay <= 0 && s.Jitter <= 0 && s.Rate <= 0 {
		return l.pieces[0].at
	}
	return l.passed(s).Add(s.Delay + time.Duration(l.pieces[0].luck*float64(s.Jitter)))
}

// pop takes the head, which is due. Its bytes count as in the lane until the caller says otherwise.
func (l *lane) pop(s *Shape) piece {
	l.free = l.passed(s)
	p := l.pieces[0]
	l.pieces[0] = piece{}
	if l.pieces = l.pieces[1:]; len(l.pieces) == 0 {
		l.pieces = nil
	}
	return p
}

// take copies into b what was left of the last piece, or else what fits of the head, which is due.
func (l *lane) take(s *Shape, b []byte) int {
	if len(l.rest) == 0 {
		l.rest = l.pop(s).data
	}
	n := copy(b, l.rest)
	l.rest = l.rest[n:]
	l.size -= n
	return n
}
