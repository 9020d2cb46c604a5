package sight

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	keepMetrics  = control.MaxLast
	chunkTime    = time.Minute
	sweepGap     = time.Second // between two sweeps: each looks at all series
	maxSeries    = 20_000
	maxOfOne     = 2_000 // series of one instance
	maxSources   = 2_000
	maxBounds    = 64
	maxLabels    = 16
	seriesSize   = 512
	originSize   = 64
	exportsKept  = 32
	staleSources = keepMetrics
)

// The kinds of a series.
const (
	kindGauge byte = iota
	kindCounter
	kindHistogram
)

// metrics are the series of all instances.
type metrics struct {
	limit int

	metricMu sync.Mutex
	opened   time.Time
	series   map[string]*series
	sources  map[[2]string]*reporter
	size     int
	static   int // of size, what the series take without points
	lost     uint64
	key      []byte // to look a series up with, used again
	swept    time.Time
}

// reporter is an instance that has reported.
type reporter struct {
	service, instance string
	exports           []time.Time // the last ones, oldest first
	series            []*series
	size              int         // what these take without points
	current           [roles]bool // what it tells by the conventions of now
}

// series is one number of one instance. Its points are in chunks of bytes, each the difference to the one before, so that a
// second in which nothing happened takes nothing.
type series struct {
	of     *reporter
	name   string
	unit   string
	labels []label
	kind   byte
	role   role
	bad    bool   // what it counts are errors
	peer   string // the service called, or the topic
	hedge  bool
	apart  bool // attempts that say nothing of how often a call was tried again
	old    bool // by conventions of before
	bounds []float64
	width  int      // how many buckets a histogram has
	sum    float64  // of a gauge
	from   []origin // of what is counted, the one that was seen last in front
	chunks []chunk
	size   int
	seen   time.Time
}

// origin is how far one process has counted. Several may be one instance by their names: workers that inherit the environment of the
// process that forked them.
type origin struct {
	start  uint64 // of what it counts
	count  uint64
	sum    float64
	bucket []uint64
}

// maxOrigins bounds the processes that are one instance. Of further ones, what they count is as of when they were heard of last.
const maxOrigins = 32

type label struct{ key, value string }

// role is what a series has to do with the graph.
type role byte

const (
	roleNone role = iota
	roleCall
	roleServe
	roleAttempts
	rolePublish
	roleProcess
	roles
)

func (m *metrics) init(limit int) {
	m.limit = limit
	m.opened = time.Now()
	m.series = make(map[string]*series)
	m.sources = make(map[[2]string]*reporter)
}

// ms is a time as that of a point: in milliseconds of the monotonic clock. By the wall clock, what had come before it was set back
// would be newer than everything that comes after, for as long as it was set back by.
func (m *metrics) ms(t time.Time) int64 { return m.opened.UnixMilli() + t.Sub(m.opened).Milliseconds() }

// AddMetrics takes an ExportMetricsServiceRequest of OTLP, as protobuf, as AddTraces does with traces. Its points count as of
// now: services export every second, and clocks may be wrong.
func (s *Store) AddMetrics(body []byte) (points int, err error) {
	m := &s.metrics
	now := time.Now()
	m.metricMu.Lock()
	defer m.metricMu.Unlock()
	told := make(map[*reporter]struct{}, 1)
	err = perResource(body, func(src source, b []byte) error {
		r := m.source(src)
		if r == nil {
			m.lost++
			return nil
		}
		if _, ok := told[r]; !ok {
			told[r] = struct{}{}
			r.reported(now)
		}
		n, err := m.metric(r, b, now)
		points += n
		return err
	})
	m.sweep(now)
	return points, refuse(err)
}

func (m *metrics) bytes() int {
	m.metricMu.Lock()
	defer m.metricMu.Unlock()
	return m.size
}

func (m *metrics) droppedPoints() uint64 {
	m.metricMu.Lock()
	defer m.metricMu.Unlock()
	return m.lost
}

func (m *metrics) source(src source) *reporter {
	key := [2]string{string(src.service), string(src.instance)}
	r := m.sources[key]
	if r == nil && len(m.sources) < maxSources {
		r = &reporter{service: clean(key[0]), instance: clean(key[1])}
		m.sources[key] = r
		m.size += seriesSize
	}
	return r
}

func (r *reporter) reported(now time.Time) {
	if len(r.exports) >= exportsKept {
		r.exports = append(r.exports[:0], r.exports[1:]...)
	}
	r.exports = append(r.exports, now)
}

// point is a point of a metric, as it came.
type point struct {
	start  uint64
	value  float64
	count  uint64
	bucket []uint64
	bounds []float64
	labels []wireAttr
}

// metric takes one metric with all its points.
func (m *metrics) metric(r *reporter, b []byte, now time.Time) (points int, err error) {
	var name, unit []byte
	err = fields(b, func(num protowire.Number, b []byte, _ uint64) error {
		switch int(num) {
		case 1:
			name = cut(b, maxName)
		case 3:
			unit = cut(b, maxKey)
		}
		return nil
	})
	if err != nil || len(name) == 0 {
		return 0, err
	}
	return points, fields(b, func(num protowire.Number, data []byte, _ uint64) error {
		if data == nil || num != 5 && num != 7 && num != 9 && num != 10 {
			return nil
		}
		delta, monotonic := false, false
		err := fields(data, func(num protowire.Number, _ []byte, n uint64) error {
			switch int(num) {
			case 2:
				delta = n == 1
			case 3:
				monotonic = n == 1
			}
			return nil
		})
		if err != nil {
			return err
		}
		kind := kindGauge
		switch {
		case num == 7 && monotonic:
			kind = kindCounter
		case num >= 9:
			kind = kindHistogram
		}
		return fields(data, func(field protowire.Number, b []byte, _ uint64) error {
			if field != 1 || b == nil {
				return nil
			}
			var p point
			if err := p.parse(b, num); err != nil {
				return err
			}
			points++
			if !p.finite() {
				m.lost++
				return nil
			}
			s := m.find(r, name, unit, kind, delta, &p)
			if s == nil {
				m.lost++
				return nil
			}
			m.take(s, &p, delta, now)
			return nil
		})
	})
}

// parse reads a point of a gauge (5), a sum (7), a histogram (9) or an exponential histogram (10).
func (p *point) parse(b []byte, of protowire.Number) error {
	return fields(b, func(num protowire.Number, b []byte, n uint64) error {
		attributes := of == 5 && num == 7 || of == 7 && num == 7 || of == 9 && num == 9 || of == 10 && num == 1
		switch {
		case attributes && b != nil && len(p.labels) < maxLabels:
			return appendAttr(&p.labels, b)
		case num == 2:
			p.start = n
		case of <= 7 && num == 4:
			p.value = math.Float64frombits(n)
		case of <= 7 && num == 6:
			p.value = float64(int64(n))
		case of >= 9 && num == 4:
			p.count = n
		case of >= 9 && num == 5:
			p.value = math.Float64frombits(n)
		case of == 9 && num == 6:
			p.bucket = fixed64s(b, maxBounds+1)
		case of == 9 && num == 7:
			for _, bits := range fixed64s(b, maxBounds) {
				p.bounds = append(p.bounds, math.Float64frombits(bits))
			}
		}
		return nil
	})
}

// maxNumber bounds a number that comes, so that the sum of all is one, too.
const maxNumber = 1e300

// finite reports whether all numbers of a point are such as can be added up.
func (p *point) finite() bool {
	for _, v := range append([]float64{p.value}, p.bounds...) {
		if !(math.Abs(v) <= maxNumber) { // NaN is not, either
			return false
		}
	}
	return true
}

// find returns the series of a point, a new one if there is room for it.
func (m *metrics) find(r *reporter, name, unit []byte, kind byte, delta bool, p *point) *series {
	if len(p.bucket) != len(p.bounds)+1 || !slices.IsSorted(p.bounds) {
		p.bucket, p.bounds = nil, nil
	}
	slices.SortFunc(p.labels, func(a, b wireAttr) int { return bytes.Compare(a.key, b.key) })
	k := append(m.key[:0], r.service...)
	k = append(append(k, 0), r.instance...)
	k = append(append(append(k, 0), name...), kind)
	for _, l := range p.labels {
		k = append(append(append(k, 0), l.key...), 1)
		k = l.appendText(k)
	}
	if r.instance == "" && kind != kindGauge && !delta { // who says not which it is may be several
		k = binary.LittleEndian.AppendUint64(append(k, 0), p.start)
	}
	m.key = k
	if s := m.series[string(k)]; s != nil {
		return s
	}
	if len(m.series) >= maxSeries || len(r.series) >= maxOfOne {
		return nil
	}
	size := seriesSize + 2*len(k) // once to look it up, and once in its labels
	if kind == kindHistogram {
		size += 16 * len(p.bucket)
	}
	// Labels may be long. What the series take by themselves cannot be taken away from them, and has to leave room for points.
	if m.static+size > m.limit/2 || r.size+size > m.limit/8 {
		return nil
	}
	s := &series{of: r, name: clean(string(name)), unit: clean(string(unit)), kind: kind, bounds: p.bounds, size: size}
	for _, l := range p.labels {
		s.labels = append(s.labels, label{clean(string(l.key)), clean(string(l.appendText(nil)))})
	}
	if kind == kindHistogram {
		s.width = len(p.bucket)
	}
	s.classify()
	m.series[string(k)] = s
	r.series = append(r.series, s)
	r.size += s.size
	m.static += s.size
	m.size += s.size
	return s
}

// newest is when the process began that began last, of those that are known.
func (s *series) newest() (start uint64) {
	for i := range s.from {
		start = max(start, s.from[i].start)
	}
	return start
}

// origin returns how far the process has counted whose counting began at start, and puts it in front. One that was not known takes the
// place of the one that was not heard of for longest, if there is no room for another.
func (m *metrics) origin(s *series, start uint64) (o *origin, known bool) {
	i := slices.IndexFunc(s.from, func(o origin) bool { return o.start == start })
	if i == 0 {
		return &s.from[0], true
	}
	one := origin{start: start, bucket: make([]uint64, s.width)}
	size := originSize + 8*len(one.bucket)
	switch {
	case i > 0:
		one, known = s.from[i], true
		s.from = slices.Delete(s.from, i, i+1)
	case len(s.from) > 0 && (len(s.from) >= maxOrigins || m.static+size > m.limit/2 || s.of.size+size > m.limit/8):
		s.from = s.from[:len(s.from)-1]
	case len(s.from) > 0: // the first one is in the size of a series
		s.size += size
		s.of.size += size
		m.static += size
		m.size += size
	}
	s.from = slices.Insert(s.from, 0, one)
	return &s.from[0], known
}

// take adds a point to its series.
func (m *metrics) take(s *series, p *point, delta bool, now time.Time) {
	first := s.seen.IsZero()
	s.seen = now
	if s.kind == kindGauge {
		if first || p.value != s.sum {
			s.sum = p.value
			if !m.append(s, now, func(b []byte) []byte { return binary.LittleEndian.AppendUint64(b, math.Float64bits(p.value)) }) {
				s.sum = math.NaN() // the next one is another, whatever it is
			}
		}
		return
	}
	if s.kind == kindCounter {
		p.count = 0
	}
	if len(p.bucket) != s.width {
		p.bucket = make([]uint64, s.width)
	}
	count, sum, bucket := p.count, p.value, slices.Clone(p.bucket)
	if !delta {
		o, known := m.origin(s, p.start)
		switch {
		case !known && (first && int64(p.start) < m.opened.UnixNano() || !first && p.start < s.newest()):
			// What happened before anybody looked is of no time.
			count, sum = 0, 0
			clear(bucket)
		case !known, count < o.count, s.kind == kindCounter && sum < o.sum: // since its own beginning
		default:
			count, sum = count-o.count, sum-o.sum
			for i := range bucket {
				bucket[i] -= min(o.bucket[i], bucket[i])
			}
		}
		o.count, o.sum = p.count, p.value
		copy(o.bucket, p.bucket)
	}
	switch {
	case s.kind == kindCounter && sum != 0:
		m.append(s, now, func(b []byte) []byte { return binary.LittleEndian.AppendUint64(b, math.Float64bits(sum)) })
	case s.kind == kindHistogram && count != 0:
		m.append(s, now, func(b []byte) []byte {
			b = binary.AppendUvarint(b, count)
			at := len(b)
			b = append(b, 0)
			for i, n := range bucket {
				if n > 0 {
					b[at]++
					b = binary.AppendUvarint(append(b, byte(i)), n)
				}
			}
			return b
		})
	}
}

// appendText is the value as text.
func (v *wireValue) appendText(b []byte) []byte {
	switch v.typ {
	case typeString:
		return append(b, v.str...)
	case typeBool:
		if v.num == 1 {
			return append(b, "true"...)
		}
		return append(b, "false"...)
	case typeInt:
		return appendInt(b, int64(v.num))
	case typeFloat:
		return appendFloat(b, math.Float64frombits(v.num))
	case typeList:
		for _, item := range v.list {
			b = append(append(b, item...), ',')
		}
	}
	return b
}
