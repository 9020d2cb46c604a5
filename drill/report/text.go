package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxText bounds what is repeated of a string from outside, in bytes.
const maxText = 2 << 10

// clean makes text from outside safe and readable on one line of anything: control characters, those that turn the
// direction of text, and what is no UTF-8 become visible, and it is cut at limit bytes.
func clean(text string, limit int) string {
	text = strings.TrimSpace(text)
	if len(text) <= limit && !strings.ContainsFunc(text, unsafe) && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if b.Len() >= limit {
			b.WriteString("…")
			break
		}
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case unsafe(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r) // what is no UTF-8 has become U+FFFD
		}
	}
	return b.String()
}

func unsafe(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp) || r == '\ufeff'
}

// span is a duration in words, with about three digits: "0.4 ms", "41 ms", "1.24 s", "4 min 5 s".
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + span(-max(d, math.MinInt64+1))
	case d == 0:
		return "0 s"
	case d < 100*time.Microsecond:
		return digits(float64(d)/float64(time.Microsecond)) + " µs"
	case d < 999500*time.Microsecond:
		return digits(float64(d)/float64(time.Millisecond)) + " ms"
	case d < 2*time.Minute:
		return digits(d.Seconds()) + " s"
	}
	d = d.Round(time.Second)
	h, m, s := d/time.Hour, d%time.Hour/time.Minute, d%time.Minute/time.Second
	switch {
	case h > 0 && m > 0:
		return fmt.Sprintf("%d h %d min", h, m)
	case h > 0:
		return fmt.Sprintf("%d h", h)
	case s > 0:
		return fmt.Sprintf("%d min %d s", m, s)
	}
	return fmt.Sprintf("%d min", m)
}

// digits is v with three digits that count, and no zeros that do not.
func digits(v float64) string {
	prec := 0
	switch {
	case v < 9.995:
		prec = 2
	case v < 99.95:
		prec = 1
	}
	s := strconv.FormatFloat(v, 'f', prec, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// moment is a point in time since the load began: "12.5 s", and "4:05" in drills of minutes.
func moment(at, length time.Duration) string {
	if length < 2*time.Minute {
		return strconv.FormatFloat(at.Seconds(), 'f', 1, 64) + " s"
	}
	at = at.Truncate(time.Second)
	if length < time.Hour {
		return fmt.Sprintf("%d:%02d", at/time.Minute, at%time.Minute/time.Second)
	}
	return fmt.Sprintf("%d:%02d:%02d", at/time.Hour, at%time.Hour/time.Minute, at%time.Minute/time.Second)
}

// percent never rounds up: 100 % is all of them.
func percent(share float64) string {
	share = finite(share)
	floor := math.Floor(share*1e5+1e-6) / 1e3
	if share < 1 && floor >= 100 {
		floor = 99.999
	}
	return strconv.FormatFloat(floor, 'f', -1, 64) + " %"
}

// count is n with its thousands separated.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// counted is a number of things: "1 call", "7 calls".
func counted(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + one + "s"
}

func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}
