//go:build unix

package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/platform/control"
)

const (
	// topEvents is how many of the last events are kept to be shown.
	topEvents = 5
	// noLimit is more columns than any line has.
	noLimit = 1 << 20
)

// topView is what top shows: a system as it was said last, how it is sorted, and how far it is scrolled. It does no I/O. It is
// used by one goroutine.
type topView struct {
	out      terminal.Features
	target   string // service or instance; empty for all
	sort     string // one of topSortNames
	services bool   // no instances
	offset   int    // rows that are scrolled away
	page     int    // rows that were shown last
	help     bool
	held     bool          // the picture stays as it is
	pending  *control.Live // what came meanwhile
	changed  bool          // since it was drawn

	live   control.Live
	cpu    map[string]cpuUse // by instance; "" is the edge
	events []control.Event   // oldest first
}

// cpuUse is how much of a processor a process used between two times that it spoke.
type cpuUse struct {
	pid  int
	at   time.Time
	used time.Duration
	rate float64 // of one processor; below 0: not known
}

// update takes what the system says now.
func (v *topView) update(l control.Live) {
	if v.held {
		v.pending = &l
		return
	}
	cpu := make(map[string]cpuUse, len(l.Instances)+1)
	for _, i := range l.Instances {
		if i.Stats != nil {
			cpu[i.ID] = v.cpu[i.ID].next(*i.Stats)
		}
	}
	cpu[""] = v.cpu[""].next(l.Edge.Stats)
	v.cpu, v.live, v.changed = cpu, l, true
}

// next is the use up to what the process says now. The same words twice change nothing; another process begins anew.
func (u cpuUse) next(s control.InstanceStats) cpuUse {
	n := cpuUse{pid: s.PID, at: s.At, used: s.CPU, rate: -1}
	switch gone := s.At.Sub(u.at); {
	case u.at.IsZero() || u.pid != s.PID || s.CPU < u.used:
	case gone <= 0:
		return u
	default:
		n.rate = float64(s.CPU-u.used) / float64(gone)
	}
	return n
}

// happened takes an event.
func (v *topView) happened(e control.Event) {
	if !worthALine(e) || v.target != "" && !belongs(e, v.target) && e.Service != "" {
		return
	}
	v.events = append(v.events, e)
	v.events = v.events[max(0, len(v.events)-topEvents):]
	v.changed = true
}

// key does what a key asks for, and reports whether that is to end it.
func (v *topView) key(k terminal.Key) (end bool) {
	v.changed = true
	if v.help && k != terminal.KeyInterrupt && k != 'q' {
		v.help = false
		return false
	}
	switch k {
	case 'q', 'Q', terminal.KeyInterrupt, terminal.KeyEnd:
		return true
	case '?', 'h':
		v.help = true
	case 'i':
		v.services, v.offset = !v.services, 0
	case ' ':
		if v.held = !v.held; !v.held && v.pending != nil {
			v.update(*v.pending)
			v.pending = nil
		}
	case 'j', terminal.KeyDown:
		v.offset++
	case 'k', terminal.KeyUp:
		v.offset--
	case terminal.KeyPageDown:
		v.offset += v.page
	case terminal.KeyPageUp:
		v.offset -= v.page
	case 'g':
		v.offset = 0
	default:
		for _, s := range topSorts {
			if terminal.Key(s.key) == k {
				v.sort, v.offset = s.name, 0
			}
		}
	}
	v.offset = max(0, v.offset)
	return false
}

// whole is all there is, for an output that is no screen.
func (v *topView) whole(columns int, now time.Time) []string {
	lines := append([]string{v.headline(now)}, "")
	lines = append(lines, v.table(v.rows(now), columns)...)
	if below := v.below(now, noLimit); len(below) > 0 {
		lines = append(append(lines, ""), below...)
	}
	return lines
}

// draw is what fits into a screen.
func (v *topView) draw(columns, rows int, now time.Time) []string {
	if v.help {
		return v.helpLines()
	}
	lines := []string{v.headline(now), v.keysLine(columns)}
	table := v.table(v.rows(now), columns)
	// What is wrong has a third of the screen at most, unless the table leaves more.
	room := max(rows-len(lines), 2)
	below := v.below(now, max(room/3, room-len(table)-1))
	if len(below) > 0 {
		room -= len(below) + 1
	}
	v.page = max(1, room-1) // but for the header
	all := table[1:]
	v.offset = max(0, min(v.offset, len(all)-v.page))
	shown := all[v.offset:]
	if len(shown) > v.page {
		shown = shown[:v.page]
		if left := len(all) - v.offset - v.page + 1; left > 1 && v.page > 1 {
			more := fmt.Sprintf("%s %d more: %s", v.out.Glyph("…", "..."), left, v.out.Glyph("↓", "arrow down"))
			shown = append(slices.Clone(shown[:v.page-1]), v.out.Paint(terminal.Dim, more))
		}
	}
	lines = append(append(lines, table[0]), shown...)
	if len(below) > 0 {
		for len(lines) < rows-len(below) { // at the foot, where it does not jump when rows come and go
			lines = append(lines, "")
		}
		lines = append(lines, below...)
	}
	return lines
}

// headline is the system in one line.
func (v *topView) headline(now time.Time) string {
	info := v.live.Info
	ready := 0
	for _, i := range v.live.Instances {
		if i.State == "ready" && len(i.Ejected) == 0 {
			ready++
		}
	}
	count := fmt.Sprintf("%d of %d ready", ready, len(v.live.Instances))
	if ready < len(v.live.Instances) {
		count = v.out.Paint(terminal.Yellow, count)
	}
	parts := []string{
		v.out.Paint(terminal.Bold, terminal.Clean(info.System)) + " " + v.paintSystem(info.State), "up " + age(now.Sub(info.Since)), count,
	}
	if r := v.live.Edge.Rates; r != nil {
		parts = append(parts, "users "+perSecond(r.Rate)+"/s", v.errorShare(r.Rate, r.Errors)+" fail", "p99 "+latency(r.P99))
	}
	if v.held {
		parts = append(parts, v.out.Paint(terminal.Yellow, "held"))
	}
	return strings.Join(parts, "   ")
}

func (v *topView) paintSystem(s control.State) string {
	if s == control.Ready {
		return v.out.Paint(terminal.Green, string(s))
	}
	return v.out.Paint(terminal.Yellow, string(s))
}

// keysLine says what can be sorted by, as far as there is room.
func (v *topView) keysLine(columns int) string {
	var words []string
	for _, s := range topSorts {
		word := string(s.key) + " " + s.name
		if s.name == v.sort {
			words = append(words, "["+word+"]")
			continue
		}
		words = append(words, word)
	}
	line := strings.Join(words, "  ") + "   i instances  ? help  q quit"
	if terminal.Width(line) > columns {
		line = "sorted by " + v.sort + "   ? help  q quit"
	}
	return v.out.Paint(terminal.Dim, line)
}

func (v *topView) helpLines() []string {
	lines := []string{v.out.Paint(terminal.Bold, "holdfast top"), ""}
	for _, s := range topSorts {
		lines = append(lines, "  "+string(s.key)+"       sort by "+s.what)
	}
	return append(lines,
		"  i       with instances, or services alone", "  j k     scroll; arrows and Page Up, Page Down as well; g to the top",
		"  space   hold the picture, or let it go on", "  q       quit", "",
		"RATE is calls served a second, ERRORS the part of them that failed, P50 and P99 how long they take.",
		"IN FLIGHT is calls being handled, of as many as may be at once; +n wait to be let in.",
		"CPU is of one processor. A row of a service sums up its instances.", "", v.out.Paint(terminal.Dim, "any key goes back"))
}

// below says what is wrong, what waits and what has happened, in at most limit lines: the worst first, the newest last.
func (v *topView) below(now time.Time, limit int) []string {
	var wrong []string
	bad := func(style terminal.Style, format string, args ...any) {
		wrong = append(wrong, v.out.Paint(style, terminal.Clean(fmt.Sprintf(format, args...))))
	}
	for _, g := range v.live.Groups {
		if g.Trouble != "" {
			bad(terminal.Red, "group %s of %s: %s", g.Name, g.Service, g.Trouble)
		}
	}
	for _, f := range v.live.Faults {
		bad(terminal.Yellow, "broken on purpose: %s, %s left", f.What, age(f.Until.Sub(now).Round(time.Second)))
	}
	for _, q := range v.live.Queues {
		name := q.Topic + " → " + q.Group
		if v.out.ASCII {
			name = q.Topic + " -> " + q.Group
		}
		switch {
		case q.Dead > 0:
			bad(terminal.Red, "%s: %s, %d waiting: holdfast queue show %s %s", name, plural(int(q.Dead), "dead letter"), q.Waiting, q.Topic, q.Group)
		case len(q.Slowed) > 0:
			bad(terminal.Yellow, "%s: %d waiting, %s only probe for what they need", name, q.Waiting, strings.Join(q.Slowed, ", "))
		case q.Waiting > 0 && q.Rate > 0:
			bad(terminal.Yellow, "%s: %d waiting, %.0f more a second", name, q.Waiting, q.Rate)
		}
	}
	for _, m := range v.live.Missing {
		bad(terminal.Dim, "not known: %s", m)
	}
	if cut := len(wrong) - limit; cut > 0 {
		wrong = append(wrong[:max(0, limit-1)], v.out.Paint(terminal.Dim, "and "+strconv.Itoa(cut+1)+" more"))
	}
	events := v.events[max(0, len(v.events)-max(0, limit-len(wrong))):]
	for _, e := range events {
		style := eventStyle(e.State)
		wrong = append(wrong, v.out.Paint(terminal.Dim, e.Time.Local().Format(time.TimeOnly))+"  "+v.out.Paint(style, terminal.Clean(e.Message)))
	}
	return wrong
}
