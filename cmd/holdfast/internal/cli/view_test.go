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
			out.WriteString(strings.Join(a.summary(stage.p, "127.0.0.1:7071", "/tmp/shop"), "\n") + "\n\n")
		}
	}
	compare(t, "blocks.golden", out.String())
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

func TestEventsBelongToTheirServiceAndItsReplacements(t *testing.T) {
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
