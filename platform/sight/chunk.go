package sight

import (
	"encoding/binary"
	"math"
	"slices"
	"time"
)

// chunk is points of at most a minute.
type chunk struct {
	begin, end int64 // milliseconds, see metrics.ms
	points     []byte
}

// append writes a point into the series' last chunk, and takes away what is old. Where even what is new takes more than all may, it
// writes nothing: ok is false.
func (m *metrics) append(s *series, now time.Time, write func([]byte) []byte) (ok bool) {
	if m.size > m.limit*9/8 {
		m.lost++
		return false
	}
	ms := m.ms(now)
	was := s.bytes()
	n := len(s.chunks)
	if n == 0 || ms-s.chunks[n-1].begin >= chunkTime.Milliseconds() || ms < s.chunks[n-1].end {
		s.chunks = append(s.chunks, chunk{begin: ms, end: ms})
		n++
	}
	c := &s.chunks[n-1]
	c.points = write(binary.AppendUvarint(c.points, uint64(ms-c.end)))
	c.end = ms
	s.trim(ms - keepMetrics.Milliseconds())
	m.size += s.bytes() - was
	return true
}

// trim takes away what is before. What a gauge was last it still is: one that does not change is not written again.
func (s *series) trim(before int64) {
	for len(s.chunks) > 0 && s.chunks[0].end < before {
		if s.kind == kindGauge && len(s.chunks) == 1 && !math.IsNaN(s.sum) {
			if c := &s.chunks[0]; len(c.points) != onePoint {
				c.begin, c.points = c.end, binary.LittleEndian.AppendUint64(make([]byte, 1, onePoint), math.Float64bits(s.sum))
			}
			return
		}
		s.chunks = append(s.chunks[:0], s.chunks[1:]...)
	}
}

// onePoint is the size of a chunk with one point, of a gauge.
const onePoint = 1 + 8

// trimmable reports whether trim would take something away.
func (s *series) trimmable() bool {
	return len(s.chunks) > 1 || len(s.chunks) == 1 && (s.kind != kindGauge || len(s.chunks[0].points) != onePoint)
}

func (s *series) bytes() int {
	n := 0
	for i := range s.chunks {
		n += 48 + cap(s.chunks[i].points)
	}
	return n
}

// sweep takes away series and instances of which nothing has come for long and, if all take more than they may, the oldest
// minutes of all, but not the newest: rates are made of it.
func (m *metrics) sweep(now time.Time) {
	if since := now.Sub(m.swept); m.size <= m.limit && since < chunkTime || since < sweepGap {
		return
	}
	m.swept = now
	newest := m.ms(now) - chunkTime.Milliseconds()
	before := m.ms(now) - keepMetrics.Milliseconds()
	for {
		oldest := int64(math.MaxInt64) // of what is left
		m.size, m.static = 0, 0
		for key, s := range m.series {
			s.trim(before)
			if now.Sub(s.seen) > keepMetrics {
				s.of.series = slices.DeleteFunc(s.of.series, func(o *series) bool { return o == s })
				s.of.size -= s.size
				delete(m.series, key)
				continue
			}
			if s.trimmable() {
				oldest = min(oldest, s.chunks[0].end)
			}
			m.static += s.size
			m.size += s.size + s.bytes()
		}
		for key, r := range m.sources {
			if len(r.series) == 0 && now.Sub(r.exports[len(r.exports)-1]) > staleSources {
				delete(m.sources, key)
				continue
			}
			m.size += seriesSize
		}
		if m.size <= m.limit*9/10 || oldest >= newest {
			return
		}
		before = min(max(before+chunkTime.Milliseconds(), oldest+1), newest)
	}
}

// sample is a point that was read.
type sample struct {
	at     int64 // see metrics.ms
	value  float64
	count  uint64
	bucket []uint64
}

// read hands the points after a time to each; what it hands is used again.
func (s *series) read(after int64, each func(*sample)) {
	p := sample{bucket: make([]uint64, s.width)}
	for i := range s.chunks {
		c := &s.chunks[i]
		if c.end <= after && s.kind != kindGauge {
			continue
		}
		r := reader{c.points}
		p.at = c.begin
		for len(r.b) > 0 {
			p.at += int64(r.uvarint())
			if s.kind != kindHistogram {
				p.value = math.Float64frombits(binary.LittleEndian.Uint64(r.take(8)))
			} else {
				p.count = r.uvarint()
				clear(p.bucket)
				for range r.take(1)[0] {
					i := r.take(1)[0]
					p.bucket[i] = r.uvarint()
				}
			}
			if p.at > after || s.kind == kindGauge {
				each(&p)
			}
		}
	}
}
