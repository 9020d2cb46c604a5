//go:build unix

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/host"
	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/platform/control"
)

// newView returns a view that redraws in place on a terminal and one that prints lines anywhere else. console makes a link.
func (a *app) newView(console func() string, data string) view {
	lines := &lineView{app: a, console: console, data: data}
	if !a.out.Redraw {
		return lines
	}
	return &liveView{
		lineView: lines,
		screen:   terminal.NewScreen(a.Out, func() (int, int) { return terminal.Size(a.Out) }),
	}
}

// lineView prints one line for each event, and the summary when the system is ready.
type lineView struct {
	app     *app
	console func() string
	data    string
}

func (v *lineView) event(e control.Event, p host.Progress) {
	if !worthALine(e) {
		return
	}
	v.app.printf("%s", v.app.eventLine(e))
	if isReady(e) {
		for _, line := range v.app.summary(p, v.console(), v.data) {
			v.app.printf("%s", line)
		}
	}
}

func (v *lineView) tick(host.Progress) {}

func (v *lineView) note(text string) { v.app.printf("%s", text) }

func (v *lineView) end(p host.Progress, killed bool) {
	v.app.printf("%s", downLine(p, killed))
}

// downLine is the last line of up.
func downLine(p host.Progress, killed bool) string {
	if killed {
		return p.System + " was killed"
	}
	return p.System + " is down"
}

// worthALine leaves out what is only interesting while one waits for what comes after it.
func worthALine(e control.Event) bool {
	return e.Instance == "" || e.State != "starting" && e.State != "draining"
}

// isReady reports whether e says that the whole system is ready.
func isReady(e control.Event) bool { return e.Instance == "" && e.State == string(control.Ready) }

// liveView keeps a block on the terminal while the system comes up and while it goes down; in between it prints lines.
type liveView struct {
	*lineView
	screen *terminal.Screen
	state  control.State
	ready  time.Time
	hint   string
	frame  int
}

func (v *liveView) event(e control.Event, p host.Progress) {
	switch {
	case isReady(e):
		v.screen.Draw(drawStart(p, time.Now(), v.frame, v.app.out))
		v.screen.Keep()
		v.state, v.ready = control.Ready, p.Ready
		for _, line := range v.app.summary(p, v.console(), v.data) {
			v.app.printf("%s", line)
		}
	case e.Instance == "" && e.State == string(control.Stopping):
		v.tick(p)
	case v.state == control.Ready:
		if worthALine(e) && !e.Time.Before(v.ready) { // what was before is in the block that stays
			v.app.printf("%s", v.app.eventLine(e))
		}
	case e.State == "backoff" || e.State == "crash-looping":
		v.screen.Print(v.app.eventLine(e)) // all else is in the block
	}
}

func (v *liveView) tick(p host.Progress) {
	v.frame++
	switch p.State {
	case control.Stopping:
		v.state = control.Stopping
		v.screen.Draw(drawStop(p, time.Now(), v.frame, v.hint, v.app.out))
	case control.Ready:
		// Nothing moves. The ready event, on its way, takes the block away.
	default:
		v.screen.Draw(drawStart(p, time.Now(), v.frame, v.app.out))
	}
}

func (v *liveView) note(text string) {
	if v.state == control.Ready {
		v.app.printf("") // the terminal has echoed ^C
	}
	v.hint = text
}

func (v *liveView) end(p host.Progress, killed bool) {
	v.screen.Clear()
	v.app.printf("%s", downLine(p, killed))
}

// summary says where everything is, and what to do next. The link to the console lets whoever has it in: it is for a terminal, and not for
// the file that what is printed goes to.
func (a *app) summary(p host.Progress, console, data string) []string {
	if !a.out.Redraw {
		console, _, _ = strings.Cut(console, "#")
	}
	rows := [][]string{}
	for _, s := range p.Services {
		if s.HTTP != "" {
			rows = append(rows, []string{"  " + s.Name, a.out.Paint(terminal.Bold, "http://"+s.HTTP)})
		}
	}
	rows = append(rows,
		[]string{"  console", a.out.Paint(terminal.Bold, console)},
		[]string{"  data", relative(data)},
	)
	lines := append([]string{""}, table(rows)...)
	lines = append(lines, "")
	target := "SERVICE-1"
	for _, s := range p.Services {
		if s.Name != control.ControlService && s.Wanted > 0 {
			target = s.Name + "-1"
		}
	}
	for _, next := range [][2]string{
		{"ps", "what runs"}, {"logs -f", "what it says"}, {"console", "a link to the console"}, {"kill " + target, "see that nobody notices"}, {"down", "stop it; Ctrl-C does too"},
	} {
		lines = append(lines, fmt.Sprintf("  %-*s  %s", len(a.command("kill "+target)), a.command(next[0]), a.out.Paint(terminal.Dim, next[1])))
	}
	return append(lines, "")
}

// command is a command line that reaches this system.
func (a *app) command(rest string) string {
	if a.control != control.DefaultAddr && a.Getenv("HOLDFAST_CONTROL") != a.control {
		rest += " --control " + a.control
	}
	return a.name + " " + rest
}

// relative is the shorter of a path and its form relative to this directory.
func relative(path string) string {
	dir, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(dir, path); err == nil && len(rel) < len(path) {
		return rel
	}
	return path
}

// drawStart is the block while a system comes up.
func drawStart(p host.Progress, now time.Time, frame int, f terminal.Features) []string {
	head := "starting " + p.System
	if p.State == control.Building {
		head = "building " + p.System
	}
	if p.State == control.Ready {
		now = p.Ready
		head = p.System + " is ready in"
	}
	rows := [][]string{}
	if b := p.Build; b.Packages > 0 {
		rows = append(rows, buildRow(b, now, frame, f))
	}
	for _, s := range p.Services {
		rows = append(rows, serviceRow(s, p, now, frame, f))
	}
	return append([]string{f.Paint(terminal.Bold, head) + " " + host.Seconds(now.Sub(p.Begun))}, table(rows)...)
}

func buildRow(b host.BuildProgress, now time.Time, frame int, f terminal.Features) []string {
	if !b.Done.IsZero() {
		return []string{done(f), "build", plural(b.Packages, "program"), f.Paint(terminal.Dim, host.Seconds(b.Done.Sub(b.Begun)))}
	}
	status := plural(b.Packages, "program")
	switch {
	case b.Download != "":
		status += ", " + terminal.Clean(b.Download)
	case b.Compiled > 0:
		status += fmt.Sprintf(", %s compiled", plural(b.Compiled, "package"))
	}
	return []string{busy(frame, f), "build", status, host.Seconds(now.Sub(b.Begun))}
}

func serviceRow(s host.ServiceStatus, p host.Progress, now time.Time, frame int, f terminal.Features) []string {
	ready := fmt.Sprintf("%d/%d ready", s.Ready, s.Wanted)
	switch {
	case s.Begun.IsZero():
		status := ready
		if waits := waitsFor(s, p); waits != "" {
			status = "waits for " + waits
		}
		return []string{f.Paint(terminal.Dim, f.Glyph("·", "-")), s.Name, f.Paint(terminal.Dim, status)}
	case !s.Done.IsZero():
		return []string{done(f), s.Name, ready, f.Paint(terminal.Dim, host.Seconds(s.Done.Sub(s.Begun)))}
	case s.Trouble != "":
		return []string{f.Paint(terminal.Red, f.Glyph("✗", "x")), s.Name, ready, host.Seconds(now.Sub(s.Begun)), f.Paint(terminal.Red, terminal.Clean(s.Trouble))}
	}
	return []string{busy(frame, f), s.Name, ready, host.Seconds(now.Sub(s.Begun))}
}

// waitsFor names what has to be ready before s is begun.
func waitsFor(s host.ServiceStatus, p host.Progress) string {
	if p.Build.Packages > 0 && p.Build.Done.IsZero() {
		return "the build"
	}
	var names []string
	for _, other := range p.Services {
		if !other.Done.IsZero() {
			continue
		}
		needed := other.Name == control.ControlService
		for _, n := range s.Needs {
			needed = needed || n == other.Name
		}
		if needed {
			names = append(names, other.Name)
		}
	}
	return strings.Join(names, ", ")
}

// drawStop is the block while a system goes down.
func drawStop(p host.Progress, now time.Time, frame int, hint string, f terminal.Features) []string {
	head := f.Paint(terminal.Bold, "stopping "+p.System)
	if p.Why != "" {
		head += ": " + f.Paint(terminal.Red, terminal.Clean(p.Why))
	}
	head += " " + host.Seconds(now.Sub(p.Stopping))
	if hint != "" {
		head += "  " + f.Paint(terminal.Dim, hint)
	}
	rows := [][]string{}
	for _, s := range p.Services {
		switch {
		case s.Begun.IsZero():
		case s.Running == 0:
			rows = append(rows, []string{done(f), s.Name, f.Paint(terminal.Dim, "stopped")})
		default:
			rows = append(rows, []string{busy(frame, f), s.Name, fmt.Sprintf("%d left", s.Running)})
		}
	}
	return append([]string{head}, table(rows)...)
}

func done(f terminal.Features) string { return f.Paint(terminal.Green, f.Glyph("✓", "+")) }

func busy(frame int, f terminal.Features) string {
	frames := []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}
	if f.ASCII {
		frames = []string{"|", "/", "-", "\\"}
	}
	return f.Paint(terminal.Cyan, frames[frame%len(frames)])
}
