//go:build unix

package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/platform/control"
)

// edgeName is how the platform's own listeners are called, as in traces.
const edgeName = "edge"

// topRow is a row of top: an instance, or a service with all of its instances.
type topRow struct {
	name   string
	state  string
	worst  int // how bad that is, from 0
	known  bool
	rates  control.InstanceRates
	stats  control.InstanceStats
	spoke  bool // stats are known
	cpu    float64
	rss    int64
	note   string
	parts  []topRow // instances of a service
	number int      // in the order of the system file
}

// topSorts are what rows can be sorted by, and the keys for it.
var topSorts = []struct {
	name, what string
	key        rune
	less       func(a, b topRow) int // nil: by name
}{
	{"name", "name, as in the system file", 'n', nil},
	{"rate", "calls served", 'r', func(a, b topRow) int { return cmp.Compare(b.rates.Rate, a.rates.Rate) }},
	{"errors", "failed calls a second", 'e', func(a, b topRow) int { return cmp.Compare(b.rates.Errors, a.rates.Errors) }},
	{"p99", "the time that the slowest hundredth takes", 'p', func(a, b topRow) int { return cmp.Compare(b.rates.P99, a.rates.P99) }},
	{"flight", "calls in flight and waiting", 'f', func(a, b topRow) int {
		return cmp.Compare(b.stats.InFlight+b.stats.Waiting, a.stats.InFlight+a.stats.Waiting)
	}},
	{"cpu", "processor", 'c', func(a, b topRow) int { return cmp.Compare(b.cpu, a.cpu) }},
	{"memory", "memory", 'm', func(a, b topRow) int { return cmp.Compare(b.rss, a.rss) }},
	{"state", "state, the worst first", 's', func(a, b topRow) int { return cmp.Compare(b.worst, a.worst) }},
}

func topSortNames() []string {
	names := make([]string, 0, len(topSorts))
	for _, s := range topSorts {
		names = append(names, s.name)
	}
	return names
}

func topSortKey(name string) bool { return slices.Contains(topSortNames(), name) }

// rows are the services that are shown, each with its instances, in the order that is asked for.
func (v *topView) rows(now time.Time) []topRow {
	var services []topRow
	find := map[string]int{}
	for _, s := range v.live.Info.Services {
		if v.wanted(s.Name, "") {
			find[s.Name] = len(services)
			services = append(services, topRow{name: s.Name, state: fmt.Sprintf("%d of %d ready", s.Ready, s.Replicas), number: len(services), cpu: -1})
		}
	}
	for _, i := range v.live.Instances {
		if !v.wanted(i.Service, i.ID) {
			continue
		}
		n, ok := find[i.Service]
		if !ok { // the control members, and a service that the file no longer has
			n = len(services)
			find[i.Service] = n
			services = append(services, topRow{name: i.Service, number: n, cpu: -1})
			if i.Service == control.ControlService {
				services[n].number = -1 // first, as in ps
			}
		}
		services[n].parts = append(services[n].parts, v.instanceRow(i, len(services[n].parts), now))
	}
	for n := range services {
		v.sum(&services[n])
	}
	if e := v.live.Edge; v.target == "" && (e.Rates != nil || e.Stats.Served > 0) {
		row := topRow{name: edgeName, state: "ready", number: -2, stats: e.Stats, spoke: true, cpu: v.cpuOf("")}
		if e.Rates != nil {
			row.rates, row.known = *e.Rates, true
		}
		services = append(services, row)
	}
	order := func(a, b topRow) int { return cmp.Compare(a.number, b.number) }
	for _, s := range topSorts {
		if s.name == v.sort && s.less != nil {
			order = func(a, b topRow) int { return cmp.Or(s.less(a, b), cmp.Compare(a.number, b.number)) }
		}
	}
	slices.SortStableFunc(services, order)
	for _, s := range services {
		slices.SortStableFunc(s.parts, order)
	}
	return services
}

// wanted reports whether a service, or an instance of it, is to be shown.
func (v *topView) wanted(service, instance string) bool {
	switch {
	case v.target == "" || v.target == service:
		return true
	case instance == "": // a service that the target is an instance of
		number, ok := strings.CutPrefix(v.target, service+"-")
		return ok && number != "" && strings.Trim(number, "0123456789") == ""
	}
	return v.target == instance
}

func (v *topView) cpuOf(id string) float64 {
	if u, ok := v.cpu[id]; ok {
		return u.rate
	}
	return -1
}

func (v *topView) instanceRow(i control.LiveInstance, number int, now time.Time) topRow {
	r := topRow{name: i.ID, state: i.State, number: number, rss: i.RSS, cpu: v.cpuOf(i.ID)}
	if i.Rates != nil {
		r.rates, r.known = *i.Rates, true
	}
	if i.Stats != nil {
		r.stats, r.spoke = *i.Stats, true
	}
	var notes []string
	switch {
	case i.State == "crash-looping":
		r.worst = 6
	case i.State == "backoff", i.State == "stopped":
		r.worst = 5
	case i.State == control.Frozen:
		r.worst = 4
	case len(i.Ejected) > 0:
		r.state, r.worst = "ejected", 3
	case i.Draining:
		r.state, r.worst = "draining", 2
	case i.State != "ready":
		r.worst = 1
	}
	if (r.worst >= 5 || r.worst == 1) && i.Reason != "" { // why it ended, or why it is not ready yet
		notes = append(notes, i.Reason)
	}
	notes = append(notes, i.Ejected...)
	if i.Role != "" {
		notes = append(notes, i.Role)
	}
	if r.worst != 0 && len(i.Ejected) == 0 || i.Restarts > 0 && now.Sub(i.Since) < time.Minute {
		notes = append(notes, "for "+age(now.Sub(i.Since)))
	}
	if r.worst < 5 && i.Restarts > 0 {
		notes = append(notes, plural(i.Restarts, "restart"))
	}
	r.note = strings.Join(notes, "; ")
	return r
}

// sum makes the row of a service from those of its instances.
func (v *topView) sum(s *topRow) {
	ready := 0
	for _, p := range s.parts {
		s.rates.Rate += p.rates.Rate
		s.rates.Errors += p.rates.Errors
		s.rates.P50 = max(s.rates.P50, p.rates.P50)
		s.rates.P99 = max(s.rates.P99, p.rates.P99)
		s.known = s.known || p.known
		s.spoke = s.spoke || p.spoke
		s.stats.InFlight += p.stats.InFlight
		s.stats.Waiting += p.stats.Waiting
		s.stats.Limit += p.stats.Limit
		if p.cpu >= 0 {
			s.cpu = max(0, s.cpu) + p.cpu
		}
		s.rss += p.rss
		s.worst = max(s.worst, p.worst)
		if p.worst == 0 {
			ready++
		}
	}
	if s.state == "" {
		s.state = fmt.Sprintf("%d of %d ready", ready, len(s.parts))
	}
	for _, n := range v.live.Graph.Nodes {
		if n.Service == s.name && n.Instances > 0 { // measured over all of them, not the worst
			s.rates.P50, s.rates.P99 = n.P50, n.P99
		}
	}
	for _, info := range v.live.Info.Services {
		if info.Name != s.name {
			continue
		}
		if info.Ready < info.Replicas {
			s.worst = max(s.worst, 1)
		}
		if by := info.Autoscale; by != nil && by.Wish > info.Replicas {
			s.note = fmt.Sprintf("wants %d: %s", by.Wish, by.Why)
		}
	}
}

// A topColumn is one of the table. Those with the highest drop are left out first where it is too wide.
type topColumn struct {
	title string
	right bool
	drop  int // 0: never
	cell  func(v *topView, r topRow) string
}

var topColumns = []topColumn{
	{"STATE", false, 0, func(v *topView, r topRow) string { return v.paintRow(r) }},
	{"RATE", true, 0, func(_ *topView, r topRow) string { return known(r.known, perSecond(r.rates.Rate)) }},
	{"ERRORS", true, 0, func(v *topView, r topRow) string {
		return known(r.known && r.rates.Rate > 0, v.errorShare(r.rates.Rate, r.rates.Errors))
	}},
	{"P50", true, 5, func(_ *topView, r topRow) string { return known(r.known && r.rates.P50 > 0, latency(r.rates.P50)) }},
	{"P99", true, 1, func(_ *topView, r topRow) string { return known(r.known && r.rates.P99 > 0, latency(r.rates.P99)) }},
	{"IN FLIGHT", true, 3, func(_ *topView, r topRow) string { return known(r.spoke, inFlight(r.stats)) }},
	{"CPU", true, 4, func(_ *topView, r topRow) string { return known(r.cpu >= 0, fmt.Sprintf("%.0f%%", max(0, r.cpu)*100)) }},
	{"MEMORY", true, 6, func(_ *topView, r topRow) string { return known(r.rss > 0, bytesOf(r.rss)) }},
	{"", false, 2, func(v *topView, r topRow) string { return terminal.Clean(r.note) }},
}

// table has the header and a line for each row, in columns of which as many as fit are there.
func (v *topView) table(services []topRow, columns int) []string {
	var rows []topRow
	var names []string
	for _, s := range services {
		rows, names = append(rows, s), append(names, v.out.Paint(terminal.Bold, terminal.Clean(s.name)))
		if v.services {
			continue
		}
		for _, p := range s.parts {
			rows, names = append(rows, p), append(names, "  "+terminal.Clean(p.name))
		}
	}
	shown := slices.Clone(topColumns)
	for {
		lines, width := v.layout(shown, rows, names)
		worst := slices.MaxFunc(shown, func(a, b topColumn) int { return cmp.Compare(a.drop, b.drop) })
		if width <= columns || worst.drop == 0 {
			for i := range lines {
				lines[i] = strings.TrimRight(lines[i], " ")
			}
			return lines
		}
		shown = slices.DeleteFunc(shown, func(c topColumn) bool { return c.drop == worst.drop })
	}
}

// noteRoom is how much of the last column has to fit before another one is left out for it.
const noteRoom = 24

// layout aligns the columns, and says how wide they are with a useful part of the notes.
func (v *topView) layout(shown []topColumn, rows []topRow, names []string) (lines []string, width int) {
	cells := make([][]string, len(rows)+1)
	cells[0] = []string{"NAME"}
	for i, name := range names {
		cells[i+1] = []string{name}
	}
	for _, c := range shown {
		cells[0] = append(cells[0], c.title)
		for i, r := range rows {
			cells[i+1] = append(cells[i+1], c.cell(v, r))
		}
	}
	widths := make([]int, len(shown)+1)
	for _, row := range cells {
		for i, cell := range row {
			widths[i] = max(widths[i], terminal.Width(cell))
		}
	}
	for n, row := range cells {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-terminal.Width(cell))
			if i > 0 {
				b.WriteString("  ")
			}
			if i > 0 && shown[i-1].right {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		line := b.String()
		if n == 0 {
			line = v.out.Paint(terminal.Dim, strings.TrimRight(line, " "))
		}
		lines = append(lines, line)
	}
	for i, w := range widths {
		if i > 0 && shown[i-1].title == "" {
			w = min(w, noteRoom)
		}
		width += w + 2
	}
	return lines, width - 2
}

// paintRow is a state in its colour, of an instance or a service.
func (v *topView) paintRow(r topRow) string {
	style := terminal.Green
	switch {
	case r.state == control.Frozen:
		style = terminal.Cyan
	case r.worst >= 3:
		style = terminal.Red
	case r.worst > 0:
		style = terminal.Yellow
	}
	return v.out.Paint(style, terminal.Clean(r.state))
}

// errorShare is the part of calls that failed, coloured by how bad that is.
func (v *topView) errorShare(rate, failed float64) string {
	if rate <= 0 {
		return "-"
	}
	share := min(1, failed/rate) * 100
	text := fmt.Sprintf("%.1f%%", share)
	switch {
	case failed > 0 && share < 0.05:
		text = "<0.1%"
	case failed == 0:
		text = "0%"
	}
	switch {
	case share >= 5:
		return v.out.Paint(terminal.Red, text)
	case failed > 0:
		return v.out.Paint(terminal.Yellow, text)
	}
	return text
}

func known(ok bool, text string) string {
	if !ok {
		return "-"
	}
	return text
}

// perSecond is a rate in at most five characters up to ten thousand.
func perSecond(rate float64) string {
	switch {
	case rate == 0:
		return "0"
	case rate < 0.1:
		return "<0.1"
	case rate < 10:
		return fmt.Sprintf("%.1f", rate)
	}
	return fmt.Sprintf("%.0f", rate)
}

// latency is a duration in three digits or so.
func latency(d time.Duration) string {
	switch {
	case d <= 0:
		return "0"
	case d < time.Millisecond:
		return fmt.Sprintf("%.2fms", d.Seconds()*1e3)
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1fms", d.Seconds()*1e3)
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return age(d)
}

// farLimit is a limit that nobody gets near: what is bounded by default only to be bounded.
const farLimit = 10_000

// inFlight is "14/100 +3": handled, of as many as may be, and waiting.
func inFlight(s control.InstanceStats) string {
	text := strconv.Itoa(s.InFlight)
	if s.Limit > 0 && s.Limit < farLimit {
		text += "/" + strconv.Itoa(s.Limit)
	}
	if s.Waiting > 0 {
		text += " +" + strconv.Itoa(s.Waiting)
	}
	return text
}

// bytesOf is a size in the unit that keeps it short.
func bytesOf(n int64) string {
	switch {
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 10<<30:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
