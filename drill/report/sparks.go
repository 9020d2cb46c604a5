package report

import (
	"math"
	"strconv"
	"strings"
	"time"
)

var (
	sparks      = []rune("▁▂▃▄▅▆▇█")
	sparksASCII = []rune("_.-=+*#@")
)

// spark is one character for v of most.
func (p *printer) spark(v, most float64) string {
	set := sparks
	if p.ASCII {
		set = sparksASCII
	}
	if v <= 0 || most <= 0 {
		return " "
	}
	return string(set[min(len(set)-1, int(v/most*float64(len(set))))])
}

// chart draws the timeline in four lines.
func (p *printer) chart(r *Report) {
	const left, right = 10, 12
	if len(r.Timeline) == 0 || r.Figures.Calls == 0 {
		return
	}
	t := newTimeline(r, p.width-left-right)
	var calls, failed, slow, broken strings.Builder
	most, peak, failures := 0.0, time.Duration(0), 0
	low := time.Duration(math.MaxInt64)
	for i, b := range t.bins {
		most = max(most, t.rate(i, b.OK+b.Failed+b.Refused))
		peak = max(peak, b.P99)
		if b.P99 > 0 {
			low = min(low, b.P99)
		}
		failures += b.Failed
	}
	low = min(low, peak/20) // or a little more than little would look like much
	during := t.during(r.Faults)
	for i, b := range t.bins {
		calls.WriteString(p.spark(t.rate(i, b.OK+b.Failed+b.Refused), most))
		switch {
		case b.Failed == 0:
			failed.WriteString(p.glyph("·", "."))
		case b.Failed < 10:
			failed.WriteString(strconv.Itoa(b.Failed))
		default:
			failed.WriteString(p.glyph("█", "#"))
		}
		// A logarithm: a peak of seconds would hide what is a hundred milliseconds.
		slow.WriteString(p.spark(logShare(b.P99, low, peak), 1))
		switch during[i] {
		case 0:
			broken.WriteString(" ")
		case 1:
			broken.WriteString(p.glyph("▒", "-"))
		default:
			broken.WriteString(p.glyph("▓", "="))
		}
	}
	row := func(name, style string, b *strings.Builder, said string) {
		p.line(pad(name, left) + p.paint(style, b.String()) + "  " + p.paint(dim, p.fit(said, right-2)))
	}
	p.line("")
	row("calls/s", "36", &calls, p.glyph("≤ ", "<= ")+digits(most))
	if failures > 0 {
		row("failed", colors[missed], &failed, count(failures))
	}
	row("p99", "34", &slow, p.glyph("≤ ", "<= ")+span(peak))
	if len(r.Faults) > 0 {
		row("broken", "33", &broken, counted(len(r.Faults), "fault"))
	}
	axis := []rune(strings.Repeat(" ", len(t.bins)+right))
	free := 0
	for _, k := range t.ticks(max(2, len(t.bins)/10)) {
		at := int(t.share(k.At) * float64(len(t.bins)))
		if at < free || at+runes(k.Label) > len(axis) {
			continue
		}
		copy(axis[at:], []rune(k.Label))
		free = at + runes(k.Label) + 1
	}
	p.line(strings.Repeat(" ", left) + p.paint(dim, strings.TrimRight(string(axis), " ")))
}

// during counts the faults that are in force in each bin.
func (t timeline) during(faults []Fault) []int {
	out := make([]int, len(t.bins))
	for _, f := range faults {
		first := int(max(0, f.Begun) / t.step)
		last := first
		if f.lasting() {
			last = int((f.Ended - 1) / t.step)
		}
		for i := first; i <= last && i < len(out); i++ {
			out[i]++
		}
	}
	return out
}

// logShare is where d is between low and high by order of magnitude, more than 0 for what is more than nothing.
func logShare(d, low, high time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	if high <= low {
		return 0.05
	}
	return max(0.05, math.Log(float64(d)/float64(low))/math.Log(float64(high)/float64(low)))
}

func (p *printer) glyph(text, ascii string) string {
	if p.ASCII {
		return ascii
	}
	return text
}
