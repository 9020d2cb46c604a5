package sight

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/platform/control"
)

const maxAnswered = 500 // series of one answer

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

func appendFloat(b []byte, f float64) []byte { return strconv.AppendFloat(b, f, 'g', -1, 64) }

// Series implements control.Sight. It has a point a second where something was exported, and a zero where nothing was counted.
func (s *Store) Series(q control.SeriesQuery) []control.Series {
	last := q.Last
	if last <= 0 {
		last = control.DefaultLast
	}
	last = min(last, control.MaxLast)
	now := time.Now()
	prefix, any := strings.CutSuffix(q.Name, "*")
	m := &s.metrics
	m.metricMu.Lock()
	defer m.metricMu.Unlock()
	var found []*series
	for _, r := range m.sources {
		if q.Service != "" && q.Service != r.service || q.Instance != "" && q.Instance != r.instance {
			continue
		}
		for _, one := range r.series {
			if one.name == q.Name || any && strings.HasPrefix(one.name, prefix) {
				found = append(found, one)
			}
		}
	}
	slices.SortFunc(found, func(a, b *series) int { return strings.Compare(a.sortKey(), b.sortKey()) })
	var out []control.Series
	for _, one := range found {
		if len(out) >= maxAnswered {
			break
		}
		out = append(out, m.answer(one, now.Add(-last), now)...)
	}
	return out
}

func (s *series) sortKey() string {
	var b strings.Builder
	b.WriteString(s.name + "\x00" + s.of.service + "\x00" + s.of.instance)
	for _, l := range s.labels {
		b.WriteString("\x00" + l.key + "\x01" + l.value)
	}
	return b.String()
}

func (s *series) attributes(stat string) map[string]string {
	out := make(map[string]string, len(s.labels)+3)
	for _, l := range s.labels {
		if l.key == "service" { // that it is about, not that has it
			l.key = "to"
		}
		out[l.key] = l.value
	}
	out["service"], out["instance"] = s.of.service, s.of.instance
	if stat != "" {
		out["stat"] = stat
	}
	return out
}

// answer is the series as it is answered, from after until now, by the wall clock as it is now.
func (m *metrics) answer(s *series, after, now time.Time) []control.Series {
	from := m.ms(after)
	at := func(ms int64, value float64) control.Point { return at(ms+now.UnixMilli()-m.ms(now), value) }
	if s.kind == kindGauge {
		out := control.Series{Name: s.name, Attributes: s.attributes(""), Unit: s.unit, Points: []control.Point{}}
		before := math.NaN()
		s.read(from, func(p *sample) {
			if p.at <= from {
				before = p.value
				return
			}
			out.Points = append(out.Points, at(p.at, p.value))
		})
		if !math.IsNaN(before) { // it was that, at the beginning
			out.Points = slices.Insert(out.Points, 0, at(from, before))
		}
		if n := len(out.Points); n > 0 && s.seen.After(after) {
			if last := at(m.ms(s.seen), out.Points[n-1].Value); last.At.After(out.Points[n-1].At) {
				out.Points = append(out.Points, last)
			}
		}
		return []control.Series{out}
	}
	seconds := int(now.Sub(after)/time.Second) + 1
	counts := make([]float64, seconds)
	var buckets [][]uint64
	if s.kind == kindHistogram && len(s.bounds) > 0 {
		buckets = make([][]uint64, seconds)
	}
	s.read(from, func(p *sample) {
		i := int((p.at - from) / 1000)
		if i < 0 || i >= seconds {
			return
		}
		if s.kind == kindCounter {
			counts[i] += p.value
			return
		}
		counts[i] += float64(p.count)
		if buckets != nil {
			if buckets[i] == nil {
				buckets[i] = make([]uint64, s.width)
			}
			for k, n := range p.bucket {
				buckets[i][k] += n
			}
		}
	})
	rate := control.Series{Name: s.name, Attributes: s.attributes(""), Unit: "1/s", Points: make([]control.Point, 0, seconds)}
	for i, n := range counts {
		rate.Points = append(rate.Points, at(from+int64(i)*1000, n))
	}
	if s.kind == kindCounter {
		return []control.Series{rate}
	}
	rate.Attributes["stat"] = "rate"
	out := []control.Series{rate}
	for _, q := range []struct {
		stat string
		part float64
	}{{"p50", .5}, {"p99", .99}} {
		line := control.Series{Name: s.name, Attributes: s.attributes(q.stat), Unit: s.unit, Points: []control.Point{}}
		for i, b := range buckets {
			if b != nil {
				line.Points = append(line.Points, at(from+int64(i)*1000, quantile(s.bounds, b, q.part)))
			}
		}
		out = append(out, line)
	}
	return out
}

func at(ms int64, value float64) control.Point {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		value = 0
	}
	return control.Point{At: time.UnixMilli(ms).UTC(), Value: value}
}

// quantile is where a part of what is in the buckets lies, by a straight line within a bucket; of the last one, its beginning.
func quantile(bounds []float64, bucket []uint64, part float64) float64 {
	var total uint64
	for _, n := range bucket {
		total += n
	}
	if total == 0 || len(bounds) == 0 {
		return 0
	}
	rank, seen := part*float64(total), 0.0
	for i, n := range bucket {
		if n == 0 || seen+float64(n) < rank {
			seen += float64(n)
			continue
		}
		if i >= len(bounds) {
			break
		}
		low := 0.0
		if i > 0 {
			low = bounds[i-1]
		}
		return low + (bounds[i]-low)*(rank-seen)/float64(n)
	}
	return bounds[len(bounds)-1]
}
