package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// narrow is the least width of what is drawn, as a share.
const narrow = 0.002

// maxBins bounds the columns of a chart: more could not be told apart.
const maxBins = 300

// chart is what is drawn over time. Positions are percentages of the width, so that a page of any width draws it with
// text of the same size; paths are drawn in a box of 1000 by 100 that is stretched.
type chart struct {
	Length string
	Merged string // how long a column is, if several slices were put together
	Ticks  []level
	Bands  []box // faults, behind everything

	Most     string // calls a second at the top
	Area     string // path
	Failures []box
	Refusals bool

	Fast, Slow string // paths of p50 and p99
	Calm       *level // p99 before the first fault, y
	Levels     []level
	Least      string // at the bottom

	Faults   []lane
	Lanes    []lane
	MoreLane int
	Thin     bool // many lanes: they are drawn lower
	States   []string
	Bins     []binRow
}

// level is a place on a scale, with a label.
type level struct {
	At, Label string
	Odd       bool // left out where there is little room
	Anchor    string
	Dy        string // how far its text stands below it, so that the topmost is not cut off
}

// box is from X on, W wide; Y and H are of the height. All in percent.
type box struct {
	X, W, Y, H string
	Class      string
	Title      string
}

// lane is a row: of a fault, or of an instance.
type lane struct {
	Name, Title string
	Boxes       []box
}

// binRow is a column of the chart as a row of numbers.
type binRow struct {
	From, To, Calls, Failed, Refused, P50, P99, During string
}

// newChart draws nothing, nil, if there is nothing to draw.
func newChart(r *Report) *chart {
	if len(r.Timeline) == 0 && len(r.Faults) == 0 && len(r.Instances) == 0 {
		return nil
	}
	t := newTimeline(r, maxBins)
	c := &chart{Length: span(t.end)}
	if len(r.Timeline) > 1 && len(t.bins) < len(r.Timeline) {
		c.Merged = span(t.step)
	}
	for i, k := range t.ticks(9) {
		anchor := "middle"
		if i == 0 {
			anchor = "start"
		} else if t.share(k.At) > 0.97 {
			anchor = "end"
		}
		c.Ticks = append(c.Ticks, level{At: pct(t.share(k.At)), Label: k.Label, Odd: i%2 == 1, Anchor: anchor})
	}
	c.bands(r, t)
	c.calls(r, t)
	c.latency(r, t)
	c.faults(r, t)
	c.instances(r, t)
	c.rows(r, t)
	return c
}

// bands are where faults are in force. Of many, only where any is: they would cover each other and all else.
func (c *chart) bands(r *Report, t timeline) {
	if len(r.Faults) <= 2*maxFaultLanes {
		for _, f := range r.Faults {
			c.Bands = append(c.Bands, t.box(f.Begun, f.Ended, "", ""))
		}
		return
	}
	byTime := slices.SortedStableFunc(slices.Values(r.Faults), func(a, b Fault) int { return cmp.Compare(a.Begun, b.Begun) })
	from, to := byTime[0].Begun, byTime[0].Ended
	for _, f := range byTime[1:] {
		if f.Begun > max(from, to) {
			c.Bands = append(c.Bands, t.box(from, to, "", ""))
			from, to = f.Begun, f.Ended
		}
		to = max(to, f.Ended)
	}
	c.Bands = append(c.Bands, t.box(from, to, "", ""))
}

func (r *Report) faultTitle(f Fault) string {
	text := clean(f.words(), 512) + ", at " + moment(f.Begun, r.Length)
	if f.Failed > 0 {
		text += fmt.Sprintf(": %s failed, masked after %s", counted(f.Failed, "call"), span(f.Mask))
	}
	return text
}

// box is the part of the width between two times; what does not last is as narrow as can be seen.
func (t timeline) box(from, to time.Duration, class, title string) box {
	x := min(t.share(from), 1-narrow)
	w := max(narrow, t.share(to)-x)
	return box{X: pct(x), W: pct(w), Class: class, Title: title}
}

func (c *chart) calls(r *Report, t timeline) {
	most := 0.0
	for i, b := range t.bins {
		most = max(most, t.rate(i, b.OK+b.Failed+b.Refused))
	}
	if most == 0 {
		return
	}
	top := ceiling(most)
	c.Most = digits(top)
	var path strings.Builder
	path.WriteString("M0 100")
	for i, b := range t.bins {
		x0, x1 := t.share(b.From), t.share(b.From+t.step)
		y := 100 - 100*t.rate(i, b.OK+b.Failed+b.Refused)/top
		fmt.Fprintf(&path, "L%s %sL%s %s", xy(x0*1000), xy(y), xy(x1*1000), xy(y))
		c.Refusals = c.Refusals || b.Refused > 0
		if b.Failed > 0 {
			h := min(1, max(0.08, t.rate(i, b.Failed)/top)) // one of a thousand has to be seen, too
			c.Failures = append(c.Failures, box{
				X: pct(x0), W: pct(x1 - x0), Y: pct(1 - h), H: pct(h),
				Title: fmt.Sprintf("%s failed at %s", counted(b.Failed, "call"), moment(b.From, r.Length)),
			})
		}
	}
	path.WriteString("L1000 100Z")
	c.Area = path.String()
}

// ceiling is the next round number.
func ceiling(v float64) float64 {
	scale := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range [...]float64{1, 1.5, 2, 3, 4, 5, 8} {
		if v <= m*scale {
			return m * scale
		}
	}
	return 10 * scale
}

// latency is drawn by orders of magnitude: users feel 100 ms and 1 s as different things, and a linear scale of seconds
// shows nothing of milliseconds.
func (c *chart) latency(r *Report, t timeline) {
	low, high := time.Duration(math.MaxInt64), time.Duration(0)
	for _, b := range t.bins {
		if b.P50 > 0 {
			low = min(low, b.P50)
		}
		high = max(high, b.P50, b.P99)
	}
	if high <= 0 {
		return
	}
	bottom, top := frame(min(low, high), high)
	y := func(d time.Duration) float64 {
		return 1 - min(1, max(0, math.Log(float64(max(d, 1))/float64(bottom))/math.Log(float64(top)/float64(bottom))))
	}
	for d := time.Microsecond; d <= top; d *= 10 {
		if d < bottom {
			continue
		}
		dy := "-3"
		if y(d) < 0.1 {
			dy = "11"
		}
		c.Levels = append(c.Levels, level{At: pct(y(d)), Label: span(d), Dy: dy})
	}
	c.Least = span(bottom)
	c.Fast = t.path(func(b Slice) time.Duration { return b.P50 }, y)
	c.Slow = t.path(func(b Slice) time.Duration { return b.P99 }, y)
	if r.Figures.CalmP99 > 0 {
		c.Calm = &level{At: pct(y(r.Figures.CalmP99)), Label: "p99 before the first fault: " + span(r.Figures.CalmP99)}
	}
}

// frame is a scale around low and high that ends at 1, 2 or 5 of an order of magnitude, and has one of ten in it.
func frame(low, high time.Duration) (bottom, top time.Duration) {
	bottom, top = time.Microsecond, time.Microsecond
	for _, round := range rounds() {
		if round <= low {
			bottom = round
		}
		if top < high {
			top = round
		}
	}
	if top < 12*bottom { // lines of one order of magnitude have no other to be seen against
		bottom, top = bottom/5, bottom*12
	}
	return max(1, bottom), top
}

// rounds are the durations that a scale may end at: 1, 2 and 5 µs, and so on up to hours.
func rounds() []time.Duration {
	var out []time.Duration
	for unit := time.Microsecond; unit < time.Hour; unit *= 10 {
		out = append(out, unit, 2*unit, 5*unit)
	}
	return out
}

// path is a line through the middles of the bins that have a value. A bin alone is a short line.
func (t timeline) path(value func(Slice) time.Duration, y func(time.Duration) float64) string {
	var b strings.Builder
	pen := false
	for i, bin := range t.bins {
		v := value(bin)
		if v <= 0 {
			pen = false
			continue
		}
		x := xy(t.share(bin.From+t.step/2) * 1000)
		at := xy(y(v) * 100)
		if pen {
			fmt.Fprintf(&b, "L%s %s", x, at)
		} else {
			fmt.Fprintf(&b, "M%s %s", x, at)
			if i+1 >= len(t.bins) || value(t.bins[i+1]) <= 0 {
				b.WriteString("h1")
			}
		}
		pen = true
	}
	return b.String()
}

// maxFaultLanes is up to how many faults have a row of their own. More share one by their kind.
const maxFaultLanes = 14

func (c *chart) faults(r *Report, t timeline) {
	if len(r.Faults) <= maxFaultLanes {
		for _, f := range r.Faults {
			title := r.faultTitle(f)
			c.Faults = append(c.Faults, lane{Name: clean(f.What, 256), Title: title, Boxes: []box{faultBox(t, f, 0, 1, title)}})
		}
		return
	}
	byKind := map[string][]Fault{}
	var kinds []string
	for _, f := range r.Faults[:min(len(r.Faults), maxFaults)] {
		if byKind[f.Kind] == nil {
			kinds = append(kinds, f.Kind)
		}
		byKind[f.Kind] = append(byKind[f.Kind], f)
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		l := lane{Name: fmt.Sprintf("%s × %d", clean(kind, 64), len(byKind[kind])), Title: clean(kind, 64)}
		for _, f := range byKind[kind] {
			l.Boxes = append(l.Boxes, faultBox(t, f, 0, 1, r.faultTitle(f)))
		}
		c.Faults = append(c.Faults, l)
	}
}

func faultBox(t timeline, f Fault, y, h float64, title string) box {
	class := "fault"
	switch {
	case f.Error != "":
		class = "fault undone"
	case f.Failed > 0:
		class = "fault felt"
	}
	b := t.box(f.Begun, f.Ended, class, title)
	b.Y, b.H = pct(y), pct(h)
	return b
}

func (c *chart) rows(r *Report, t timeline) {
	lines := make([][]string, len(t.bins))
	for _, f := range r.Faults {
		first := int(max(0, f.Begun) / t.step)
		last := first
		if f.lasting() {
			last = int((f.Ended - 1) / t.step)
		}
		for i := first; i <= last && i < len(lines); i++ {
			if len(lines[i]) < 4 {
				lines[i] = append(lines[i], clean(f.What, 80))
			} else if len(lines[i]) == 4 {
				lines[i] = append(lines[i], "…")
			}
		}
	}
	for i, b := range t.bins {
		row := binRow{
			From: exact(b.From, t), To: exact(min(t.end, b.From+t.step), t), Calls: count(b.OK + b.Failed + b.Refused),
			Failed: count(b.Failed), Refused: count(b.Refused), P50: "–", P99: "–", During: strings.Join(lines[i], "; "),
		}
		if b.P50 > 0 {
			row.P50 = span(b.P50)
		}
		if b.P99 > 0 {
			row.P99 = span(b.P99)
		}
		c.Bins = append(c.Bins, row)
	}
}

// exact is a moment with the digits that the length of a bin asks for.
func exact(at time.Duration, t timeline) string {
	if t.step < time.Second && t.end < 2*time.Minute {
		return strconv.FormatFloat(at.Seconds(), 'f', 2, 64) + " s"
	}
	return moment(at, t.end)
}

// pct is a share as a percentage of the page's drawing.
func pct(share float64) string { return xy(share*100) + "%" }

// xy is a coordinate, short.
func xy(v float64) string {
	s := strconv.FormatFloat(v, 'f', 2, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}
