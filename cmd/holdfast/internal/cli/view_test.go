//go:build unix

package cli

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/host"
	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/platform/control"
)

// The stages of a system on its way up and down, as they are drawn.
func TestBlocksOnTheTerminal(t *testing.T) {
	t0 := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(seconds float64) time.Time { return t0.Add(time.Duration(seconds * float64(time.Second))) }
	services := func(change func(ctl, orders, gateway *host.ServiceStatus)) []host.ServiceStatus {
		s := []host.ServiceStatus{
			{Name: "control", Wanted: 3, Begun: at(0.1)},
			{Name: "orders", Wanted: 3},
			{Name: "gateway", Wanted: 2, Needs: []string{"orders"}, HTTP: "127.0.0.1:8080"},
		}
		change(&s[0], &s[1], &s[2])
		return s
	}
	building := host.BuildProgress{Packages: 2, Compiled: 1, Begun: at(0)}
	built := host.BuildProgress{Packages: 2, Compiled: 40, Begun: at(0), Done: at(1.5)}
	up := func(c, o, g *host.ServiceStatus) {
		c.Ready, c.Done = 3, at(1.2)
		o.Begun, o.Ready, o.Done = at(1.6), 3, at(2.2)
		g.Begun, g.Ready, g.Done = at(2.3), 2, at(3)
	}
	var out strings.Builder
	for _, stage := range []struct {
		name string
		p    host.Progress
		now  float64
	}{
		{"building", host.Progress{State: control.Building, Build: building, Services: services(func(c, _, _ *host.ServiceStatus) { c.Ready, c.Running = 1, 3 })}, 0.8},
		{"the build takes longer than the members", host.Progress{State: control.Building, Build: building, Services: services(func(c, _, _ *host.ServiceStatus) {
			c.Ready, c.Done = 3, at(1.2)
		})}, 75},
		{"members take longer than the build", host.Progress{State: control.Starting, Build: built, Services: services(func(c, _, _ *host.ServiceStatus) { c.Ready = 2 })}, 1.9},
		{"services start", host.Progress{State: control.Starting, Build: built, Services: services(func(c, o, _ *host.ServiceStatus) {
			c.Ready, c.Done = 3, at(1.2)
			o.Begun, o.Ready = at(1.6), 1
		})}, 2},
		{"one dies", host.Progress{State: control.Starting, Build: built, Services: services(func(c, o, _ *host.ServiceStatus) {
			c.Ready, c.Done = 3, at(1.2)
			o.Begun, o.Ready, o.Trouble = at(1.6), 2, "orders-2: exit status 1"
		})}, 9.9},
		{"nothing to build", host.Progress{State: control.Starting, Services: services(func(_, _, _ *host.ServiceStatus) {})}, 0.2},
		{"ready", host.Progress{State: control.Ready, Ready: at(3), Build: built, Services: services(up)}, 4},
		{"going down", host.Progress{State: control.Stopping, Stopping: at(10), Build: built, Services: services(func(c, o, g *host.ServiceStatus) {
			up(c, o, g)
			c.Running, o.Running, g.Running = 3, 1, 0
		})}, 12},
		{"going down before everything was up", host.Progress{State: control.Stopping, Stopping: at(1), Build: building, Services: services(func(c, _, _ *host.ServiceStatus) { c.Running = 3 })}, 1.1},
	} {
		stage.p.System, stage.p.Begun = "shop", t0
		out.WriteString("# " + stage.name + "\n\n")
		lines := drawStart
		block := lines(stage.p, at(stage.now), 3, terminal.Features{Redraw: true})
		if stage.p.State == control.Stopping {
			block = drawStop(stage.p, at(stage.now), 3, "Ctrl-C again kills everything at once", terminal.Features{Redraw: true})
		}
		out.WriteString(strings.Join(block, "\n") + "\n\n")
		if stage.name == "ready" {
			a := &app{name: "holdfast", control: "127.0.0.1:7071", Process: Process{Getenv: func(string) string { return "" }}}
			out.WriteString(strings.Join(a.summary(stage.p, "http://127.0.0.1:7071/#login=CODE", "/tmp/shop"), "\n") + "\n\n")
		}
	}
	compare(t, "blocks.golden", out.String())
}

// What stays on a terminal: the block when it is done, then one line for each event, and nothing of the block of the stop.
func TestLiveViewPrintsEventsBetweenTheBlocks(t *testing.T) {
	var out strings.Builder
	a := &app{name: "holdfast", control: control.DefaultAddr, Process: Process{Out: &out, Getenv: func(string) string { return "" }}}
	v := &liveView{
		lineView: &lineView{app: a, console: func() string { return "http://" + control.DefaultAddr + "/#login=CODE" }, data: "/tmp/shop"},
		screen:   terminal.NewScreen(&out, func() (int, int) { return 80, 24 }),
	}
	t0 := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := host.Progress{System: "shop", State: control.Starting, Begun: t0, Services: []host.ServiceStatus{{Name: "orders", Wanted: 1, Begun: t0}}}
	event := func(after time.Duration, instance, state, message string) {
		v.event(control.Event{Time: t0.Add(after), Service: strings.TrimSuffix(instance, "-1"), Instance: instance, State: state, Message: message}, p)
	}
	since := func() string {
		s := out.String()
		out.Reset()
		return s
	}
	event(0, "", "starting", "starting shop")
	v.tick(p)
	if got := since(); !strings.Contains(got, "orders  0/1 ready") {
		t.Errorf("drawn: %q", got)
	}
	event(1, "orders-1", "ready", "orders-1 ready")
	event(1, "orders-1", "backoff", "orders-1 died: exit status 1")
	if got := since(); strings.Contains(got, "orders-1 ready") || !strings.Contains(got, "orders-1 died") {
		t.Errorf("while it starts, only trouble is printed above the block: %q", got)
	}
	p.State, p.Ready = control.Ready, t0.Add(2)
	p.Services[0].Ready, p.Services[0].Done = 1, t0.Add(2)
	event(2, "", "ready", "shop is ready")
	if got := since(); !strings.Contains(got, "✓  orders  1/1 ready") || !strings.Contains(got, "holdfast kill orders-1") || !strings.HasSuffix(got, "\n") {
		t.Errorf("summary: %q", got)
	}
	v.tick(p)
	event(1, "orders-1", "ready", "an event of the start, late")
	event(3, "orders-1", "starting", "orders-1 starting")
	if got := since(); got != "" {
		t.Errorf("printed although nothing happened: %q", got)
	}
	event(3, "orders-1", "frozen", "orders-1 frozen")
	event(3, "", "", "3 events lost")
	if got := since(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "  orders-1 frozen\n") || !strings.Contains(got, "3 events lost") {
		t.Errorf("events: %q", got)
	}
	v.note("Ctrl-C again kills")
	p.State, p.Stopping, p.Services[0].Running = control.Stopping, t0.Add(4), 1
	event(4, "", "stopping", "stopping shop")
	if got := since(); !strings.Contains(got, "stopping shop") || !strings.Contains(got, "Ctrl-C again kills") || !strings.Contains(got, "orders  1 left") {
		t.Errorf("stop: %q", got)
	}
	v.end(p, false)
	if got := since(); !strings.Contains(got, "\x1b[J") || !strings.HasSuffix(got, "\x1b[?25hshop is down\n") {
		t.Errorf("end: %q", got)
	}
}

func TestStylesAndGlyphsAreOptional(t *testing.T) {
	p := host.Progress{System: "shop", State: control.Starting, Services: []host.ServiceStatus{
		{Name: "orders", Wanted: 1, Begun: time.Unix(1, 0), Ready: 1, Done: time.Unix(2, 0)},
		{Name: "cart", Wanted: 1, Begun: time.Unix(1, 0), Trouble: "cart-1: \x1b[2Jexit status 1"},
	}}
	ascii := strings.Join(drawStart(p, time.Unix(3, 0), 0, terminal.Features{Redraw: true, ASCII: true}), "\n")
	for _, r := range ascii {
		if r > 0x7e && r != '\uFFFD' {
			t.Errorf("%q in a block for an ASCII terminal:\n%s", r, ascii)
		}
	}
	if strings.Contains(ascii, "\x1b") {
		t.Errorf("escape sequence without colours: %q", ascii)
	}
	color := strings.Join(drawStart(p, time.Unix(3, 0), 0, terminal.Features{Redraw: true, Color: true}), "\n")
	if !strings.Contains(color, "\x1b[32m✓\x1b[0m") || strings.Contains(color, "\x1b[2J") {
		t.Errorf("block in colour: %q", color)
	}
}

func TestEventsBelongToTheirServiceAndItsStandIns(t *testing.T) {
	e := control.Event{Service: "order", Instance: "order-3"}
	for target, want := range map[string]bool{"order": true, "order-3": true, "order-1": true, "order-mail": false, "order-mail-1": false, "orders": false, "": false} {
		if got := belongs(e, target); got != want {
			t.Errorf("belongs to %q = %v, want %v", target, got, want)
		}
	}
	if belongs(control.Event{Message: "shop is ready"}, "shop") {
		t.Error("an event of the system belongs to no service")
	}
}

func TestInvocation(t *testing.T) {
	path := func(string) string { return "/usr/bin:/opt/holdfast" }
	for arg0, want := range map[string]string{
		"holdfast":                                   "holdfast",
		"bin/holdfast":                               "bin/holdfast",
		"/opt/holdfast/holdfast":                     "holdfast",
		"/tmp/go-build123/b001/exe/holdfast":         "go run ./cmd/holdfast",
		"/root/.cache/go-build/12/123456-d/holdfast": "go run ./cmd/holdfast",
	} {
		if got := invocation(arg0, path); got != want {
			t.Errorf("invocation(%s) = %s, want %s", arg0, got, want)
		}
	}
}

func TestLogFileIsBounded(t *testing.T) {
	l := &logFile{path: filepath.Join(t.TempDir(), "sub", "holdfast.log"), max: 100}
	defer l.Close()
	for range 50 {
		if _, err := l.Write([]byte("0123456789\n")); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{l.path, l.path + ".1"} {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 || info.Size() > 100 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

func compare(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs. got:\n%s\nwant:\n%s", path, got, want)
	}
}

// The link to the console lets in whoever has it: a terminal shows it, and a file that output goes to does not keep it.
func TestTheLinkIsForATerminal(t *testing.T) {
	for _, redraw := range []bool{false, true} {
		a := &app{name: "holdfast", control: control.DefaultAddr, out: terminal.Features{Redraw: redraw}, Process: Process{Getenv: func(string) string { return "" }}}
		text := strings.Join(a.summary(host.Progress{System: "shop"}, "http://127.0.0.1:7070/#login=CODE", "/tmp/shop"), "\n")
		if strings.Contains(text, "CODE") != redraw || !strings.Contains(text, "http://127.0.0.1:7070/") {
			t.Errorf("on a terminal %v: %s", redraw, text)
		}
	}
}
