//go:build unix

package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/drill"
	"github.com/holdfast-go/holdfast/drill/report"
)

// statusEvery is how often a line says how far it is where nothing can be redrawn.
const statusEvery = 10 * time.Second

// drillView shows a drill while it runs, and what came of it.
type drillView struct {
	w      io.Writer
	out    terminal.Features
	width  int
	height int

	mu     sync.Mutex // progress comes from other goroutines
	screen *terminal.Screen
	told   time.Duration
}

// newDrillView shows on standard output, or if that belongs to a report, on standard error.
func (a *app) newDrillView(quiet bool) *drillView {
	v := &drillView{w: output{a}, out: a.out}
	file := a.Out
	if quiet {
		v.w, v.out, file = a.Err, terminal.Detect(a.Err, a.Getenv), a.Err
	}
	v.width, v.height = terminal.Size(file)
	if v.out.Redraw {
		v.screen = terminal.NewScreen(file, func() (int, int) { return terminal.Size(file) })
	}
	return v
}

// line prints a line for good.
func (v *drillView) line(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.print(text)
}

func (v *drillView) print(text string) {
	if v.screen != nil {
		v.screen.Print(text)
		return
	}
	fmt.Fprintln(v.w, text)
}

// draw shows lines that the next ones replace, on a terminal.
func (v *drillView) draw(lines ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.screen != nil {
		v.screen.Draw(lines)
	}
}

func (v *drillView) clear() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.screen != nil {
		v.screen.Clear()
	}
}

func (v *drillView) begin(sc *drill.Scenario, seed uint64) {
	text := v.out.Paint(terminal.Bold, "drill "+sc.Name) + "  seed " + strconv.FormatUint(seed, 10)
	if sc.About != "" {
		text += "  " + v.out.Paint(terminal.Dim, terminal.Clean(sc.About))
	}
	v.told = 0
	v.line(text)
}

// progress prints what happened, and how far it is.
func (v *drillView) progress(p drill.Progress) {
	v.mu.Lock()
	defer v.mu.Unlock()
	at := "       "
	if p.At > 0 {
		at = fmt.Sprintf("%6.1fs", p.At.Seconds())
	}
	if p.Message != "" {
		text := terminal.Clean(p.Message)
		if p.Bad {
			text = v.out.Paint(terminal.Red, text)
		}
		v.print(v.out.Paint(terminal.Dim, at) + "  " + text)
	}
	if p.At == 0 {
		return
	}
	if v.screen != nil {
		v.screen.Draw(v.status(p))
		return
	}
	if p.Message == "" && p.At-v.told >= statusEvery {
		v.told = p.At
		v.print(at + "  " + v.counts(p))
	}
}

// status is the block under what has happened: a bar, the counts, what is broken.
func (v *drillView) status(p drill.Progress) []string {
	const cells = 24
	done := min(cells, int(cells*p.At/max(p.For, 1)))
	bar := v.out.Paint(terminal.Cyan, strings.Repeat(v.out.Glyph("━", "="), done)) + v.out.Paint(terminal.Dim, strings.Repeat(v.out.Glyph("━", "-"), cells-done))
	lines := []string{fmt.Sprintf("%6.1fs  %s  %s", p.At.Seconds(), bar, v.counts(p))}
	for _, b := range p.Broken {
		lines = append(lines, "         "+v.out.Paint(terminal.Yellow, v.out.Glyph("▪ ", "* ")+terminal.Clean(b)))
	}
	return lines
}

func (v *drillView) counts(p drill.Progress) string {
	ok := p.Calls - p.Failed - p.Refused
	text := fmt.Sprintf("%s calls", thousands(p.Calls))
	if p.Calls > 0 && ok+p.Failed > 0 {
		text += fmt.Sprintf(", %.2f %% succeeded", 100*float64(ok)/float64(ok+p.Failed))
	}
	if p.Failed > 0 {
		return text + ", " + v.out.Paint(terminal.Red, thousands(p.Failed)+" failed")
	}
	return text + ", none failed"
}

func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// end takes the block away and prints the report.
func (v *drillView) end(r *report.Report) {
	v.clear()
	fmt.Fprintln(v.w)
	_ = report.Terminal(v.w, r, v.reportScreen()) // errors of writing are those of all output
	fmt.Fprintln(v.w)
}

func (v *drillView) summary(reports []*report.Report) {
	_ = report.Summary(v.w, v.reportScreen(), reports...)
}

func (v *drillView) reportScreen() report.Screen {
	width := v.width
	if width == 0 { // no terminal: what is written to a file is not cut where one would end
		width = plainWidth
	}
	return report.Screen{Width: width, Height: v.height, Color: v.out.Color, ASCII: v.out.ASCII}
}
