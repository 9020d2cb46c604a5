//go:build unix

package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/terminal"
	"github.com/holdfast-go/holdfast/platform/control"
)

// topSample is a system in which something is wrong, after so many seconds.
func topSample(t0 time.Time, seconds int) control.Live {
	now := t0.Add(time.Duration(seconds) * time.Second)
	ms := func(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
	stats := func(pid, inFlight, limit, waiting int, cpu float64) *control.InstanceStats {
		return &control.InstanceStats{At: now, PID: pid, InFlight: inFlight, Limit: limit, Waiting: waiting, Served: 1, CPU: time.Duration(cpu * float64(seconds+10) * float64(time.Second))}
	}
	instance := func(service, id, state string, pid int, since time.Duration) control.Instance {
		return control.Instance{Service: service, ID: id, State: state, PID: pid, Since: t0.Add(-since)}
	}
	rates := func(rate, errors, p50, p99 float64) *control.InstanceRates {
		return &control.InstanceRates{Rate: rate, Errors: errors, P50: ms(p50), P99: ms(p99)}
	}
	dead := instance("orders", "orders-3", "backoff", 0, 4*time.Second)
	dead.Restarts, dead.Reason = 2, "killed by SIGKILL"
	again := instance("gateway", "gateway-2", "ready", 108, 20*time.Second)
	again.Restarts = 1
	return control.Live{
		At: now,
		Info: control.Info{System: "shop", State: control.Ready, Since: t0.Add(-3 * time.Minute), Services: []control.Service{
			{Name: "gateway", Replicas: 2, Ready: 2, Autoscale: &control.Autoscale{Min: 2, Max: 8, Wish: 4, Why: "in-flight 45 per instance, target 20"}},
			{Name: "orders", Replicas: 3, Ready: 2},
			{Name: "stock", Replicas: 1, Ready: 1},
			{Name: "legacy", Replicas: 1, Ready: 1},
		}},
		Instances: []control.LiveInstance{
			{Instance: instance("control", "control-1", "ready", 101, 3*time.Minute)},
			{Instance: instance("gateway", "gateway-1", "ready", 102, 3*time.Minute), Stats: stats(102, 14, 100, 0, 0.38), Rates: rates(206.4, 0.8, 2.1, 18), Condition: control.Condition{RSS: 61 << 20}},
			{Instance: again, Stats: stats(108, 20, 100, 3, 0.41), Rates: rates(205, 0, 2.2, 17), Condition: control.Condition{RSS: 58 << 20}},
			{Instance: instance("orders", "orders-1", "ready", 103, 2*time.Minute), Stats: stats(103, 4, 64, 0, 0.2), Rates: rates(40, 0, 9.4, 120), Condition: control.Condition{RSS: 80 << 20, Role: "leader of orders"}},
			{
				Instance: instance("orders", "orders-2", "ready", 104, 2*time.Minute), Stats: stats(104, 0, 64, 0, 0.01), Rates: rates(3, 1.5, 11, 990),
				Condition: control.Condition{RSS: 79 << 20, Ejected: []string{"by gateway-1: 5 of 5 calls failed"}},
			},
			{Instance: dead},
			{Instance: instance("stock", "stock-1", control.Frozen, 105, 9*time.Second), Stats: stats(105, 12, 32, 0, 0)},
			{Instance: instance("legacy", "legacy-1", "ready", 106, 3*time.Minute)},
		},
		Edge: control.LiveEdge{Stats: *stats(100, 30, 0, 0, 0.1), Rates: rates(80.2, 0.02, 12, 210)},
		Graph: control.Graph{Nodes: []control.Node{
			{Service: "gateway", Rate: 411.4, P50: ms(2.1), P99: ms(17.5), Instances: 2},
		}},
		Groups: []control.Group{{Service: "stock", Name: "stock", Trouble: "no leader"}},
		Queues: []control.Queue{
			{Topic: "orders.paid", Group: "shipping", Lag: 3, Waiting: 3, Dead: 2},
			{Topic: "orders.paid", Group: "mail", Lag: 9, Waiting: 9, Slowed: []string{"mail-1"}},
			{Topic: "orders.paid", Group: "analytics", Lag: 1, Unsettled: 1},
		},
		Faults:  []control.Fault{{What: "stock-1 is frozen", Until: t0.Add(12 * time.Second)}},
		Missing: []string{"locks: the engine does not answer"},
	}
}

func sampleTop(t0 time.Time, out terminal.Features) *topView {
	v := &topView{out: out, sort: "name"}
	for s := range 3 {
		v.update(topSample(t0, s))
	}
	for i, message := range []string{"orders-3 died: killed by SIGKILL", "gateway-1 ejects orders-2: 5 of 5 calls failed", "\x1b[2Jstock-1 frozen"} {
		v.happened(control.Event{Time: t0.Add(time.Duration(i) * time.Second), Service: "orders", Instance: "orders-3", State: "backoff", Message: message})
	}
	return v
}

// What is seen: at several sizes, sorted and scrolled, once for a pipe.
func TestTopIsDrawn(t *testing.T) {
	t0 := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	now := t0.Add(2 * time.Second)
	var out strings.Builder
	show := func(title string, columns, rows int, v *topView) {
		fmt.Fprintf(&out, "# %s, %d x %d\n\n", title, columns, rows)
		for _, line := range v.draw(columns, rows, now) {
			out.WriteString(terminal.Truncate(line, columns) + "\n")
		}
		out.WriteString("\n")
	}
	v := sampleTop(t0, terminal.Features{Redraw: true})
	show("all", 120, 40, v)
	show("narrow", 72, 40, v)
	show("a phone", 44, 24, v)
	show("low", 120, 14, v)
	v.key(terminal.KeyPageDown)
	show("low, scrolled", 120, 14, v)
	v.key('e')
	show("by errors", 120, 40, v)
	v.key('i')
	v.key('s')
	show("services by state", 120, 24, v)
	v.key('?')
	show("help", 120, 24, v)
	one := sampleTop(t0, terminal.Features{Redraw: true, ASCII: true})
	one.target = "orders-2"
	show("one instance, ASCII", 100, 20, one)
	out.WriteString("# for a pipe\n\n" + strings.Join(sampleTop(t0, terminal.Features{}).whole(noLimit, now), "\n") + "\n")
	compare(t, "top.golden", out.String())
}

// Whatever the window's size is and whatever was pressed: no more lines than it has, the keys are never without effect on a
// help text, and nothing that a process said gets to the terminal as a control character.
func TestTopFits(t *testing.T) {
	t0 := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		v := sampleTop(t0, terminal.Features{Redraw: true})
		for range rapid.IntRange(0, 12).Draw(t, "keys") {
			k := rapid.SampledFrom([]terminal.Key{'n', 'r', 'e', 'p', 'f', 'c', 'm', 's', 'i', 'j', 'k', 'g', ' ', 'x', terminal.KeyDown, terminal.KeyPageDown, terminal.KeyPageUp}).Draw(t, "key")
			if v.key(k) {
				t.Fatalf("%c ends it", k)
			}
		}
		columns, rows := rapid.IntRange(1, 200).Draw(t, "columns"), rapid.IntRange(5, 60).Draw(t, "rows")
		lines := v.draw(columns, rows, t0)
		if len(lines) > rows {
			t.Errorf("%d lines in %d rows", len(lines), rows)
		}
		for _, line := range lines {
			if terminal.Clean(line) != line {
				t.Errorf("control characters: %q", line)
			}
		}
	})
}

func TestTopIsHeld(t *testing.T) {
	t0 := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	v := sampleTop(t0, terminal.Features{Redraw: true})
	v.key(' ')
	v.update(topSample(t0, 9))
	if !v.live.At.Equal(t0.Add(2*time.Second)) || !strings.Contains(v.headline(t0), "held") {
		t.Errorf("held, and shows %s: %s", v.live.At, v.headline(t0))
	}
	v.key(' ')
	if !v.live.At.Equal(t0.Add(9 * time.Second)) {
		t.Errorf("let go, and shows %s", v.live.At)
	}
	for _, k := range []terminal.Key{'q', terminal.KeyInterrupt, terminal.KeyEnd} {
		if !v.key(k) {
			t.Errorf("%q does not end it", rune(k))
		}
	}
}

func TestProcessorUse(t *testing.T) {
	t0 := time.Unix(1000, 0)
	said := func(pid, at, ms int) control.InstanceStats {
		return control.InstanceStats{PID: pid, At: t0.Add(time.Duration(at) * time.Second), CPU: time.Duration(ms) * time.Millisecond}
	}
	var u cpuUse
	for _, step := range []struct {
		s    control.InstanceStats
		want float64
	}{
		{said(7, 0, 1000), -1},
		{said(7, 2, 2000), 0.5},
		{said(7, 2, 2000), 0.5},
		{said(7, 3, 2000), 0},
		{said(8, 4, 100), -1},
		{said(8, 5, 300), 0.2},
		{said(8, 4, 250), -1},
	} {
		if u = u.next(step.s); u.rate < step.want-1e-9 || u.rate > step.want+1e-9 {
			t.Errorf("after %+v: %v, want %v", step.s, u.rate, step.want)
		}
	}
}
