//go:build unix

package supervise

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

var kindNames = map[string]kind{
	"start": evStart, "started": evStarted, "failed": evFailed, "ready": evReady, "unready": evUnready, "stopped": evStopped,
	"continued": evContinued, "ended": evEnded, "silent": evSilent, "retry": evRetry, "grace": evGrace,
	"STOP": cmdStop, "KILL": cmdKill, "FREEZE": cmdFreeze, "THAW": cmdThaw, "SLOW": cmdSlow, "FULL": cmdSlow, "pace": evPace,
}

var actionNames = []string{
	doStart: "start", doProbe: "probe", doTerminate: "terminate", doKill: "kill", doFreeze: "freeze", doThaw: "thaw",
	doReap: "reap", doRetry: "retry", doGrace: "grace", doFinish: "finish", doPace: "pace",
}

// TestMachineTranscripts replays the events of each transcript ("@TIME EVENT") and compares what the machine decides.
// Commands of users are in capitals. The jitter is a half.
func TestMachineTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/machine/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, string(b))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(b) {
				t.Errorf("differs (-update rewrites it); got:\n%s", got)
			}
		})
	}
}

func replay(t *testing.T, script string) string {
	t.Helper()
	var out strings.Builder
	var m machine
	epoch := time.Unix(0, 0)
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "@") {
			if strings.HasPrefix(line, "#") || line == "" {
				fmt.Fprintln(&out, line)
			}
			continue // what was decided last time
		}
		at, name, _ := strings.Cut(line[1:], " ")
		d, err := time.ParseDuration(at)
		k, ok := kindNames[name]
		if err != nil || !ok {
			t.Fatalf("bad line %q", line)
		}
		e := event{kind: k, now: epoch.Add(d), jitter: 0.5, reason: "no such file"}
		if name == "SLOW" {
			e.share = 0.25
		}
		actions := m.step(e)
		fmt.Fprintf(&out, "%s\n    %s", line, m.visible())
		if m.restarts() > 0 {
			fmt.Fprintf(&out, " (restart %d)", m.restarts())
		}
		if len(actions) > 0 {
			names := make([]string, len(actions))
			for i, a := range actions {
				names[i] = actionNames[a]
				if a == doPace {
					names[i] += fmt.Sprintf(" in %s", m.pause())
				}
				if a == doRetry {
					names[i] += fmt.Sprintf(" at %s", m.retryAt.Sub(epoch))
				}
			}
			fmt.Fprintf(&out, ": %s", strings.Join(names, ", "))
		}
		fmt.Fprintln(&out)
	}
	return out.String()
}

// Users see why a process is not ready yet while it is not, and otherwise why the last one ended.
func TestMachineSaysWhyItIsLate(t *testing.T) {
	var m machine
	for _, step := range []struct {
		kind   kind
		reason string // of the event
		want   string
		late   bool
	}{
		{evStart, "", "", false},
		{evStarted, "", "", false},
		{evFailed, "exit status 1", "exit status 1", false}, // stands here for the end of a process
		{evRetry, "", "exit status 1", false},
		{evStarted, "", "exit status 1", false},
		{evUnready, "answers 503", "answers 503", true},
		{evStopped, "", "exit status 1", false}, // frozen
		{evUnready, "says nothing", "exit status 1", false},
		{evContinued, "", "answers 503", true},
		{evUnready, "answers 500", "answers 500", true},
		{evReady, "", "exit status 1", false},
		{evUnready, "too late", "exit status 1", false},
		{evEnded, "", "exit status 1", false},
		{evRetry, "", "exit status 1", false},
	} {
		m.step(event{kind: step.kind, reason: step.reason})
		if why, late := m.why(); why != step.want || late != step.late {
			t.Errorf("after %d: %q, %v, want %q, %v", step.kind, why, late, step.want, step.late)
		}
	}
}

// world is what a machine acts on, as a model: one process, its group and its output.
type world struct {
	process  bool // started and not reaped
	ended    bool // the started process is dead
	silent   bool // the output is closed
	retry    bool // a timer runs
	grace    bool
	pace     bool
	stopped  bool // the process, by a signal of ours
	finished bool
	starts   int
	reaps    int
}

// TestMachineProperties: whatever happens in whatever order, there is never more than one process, each one is reaped,
// signals only go to processes that are not reaped, a wait is never longer than the maximum, and after a stop it comes to
// an end in which nothing runs.
func TestMachineProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m machine
		var w world
		now := time.Unix(0, 0)
		stopped := false
		send := func(k kind) {
			e := event{kind: k, now: now, jitter: rapid.Float64Range(0, math.Nextafter(1, 0)).Draw(t, "jitter")}
			apply(t, &m, &w, e, rapid.Bool().Draw(t, "fails"))
		}
		send(evStart)
		for range rapid.IntRange(0, 60).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond)
			k := rapid.SampledFrom(w.possible()).Draw(t, "event")
			stopped = stopped || k == cmdStop
			send(k)
			if w.finished {
				break
			}
		}
		if !w.finished {
			send(cmdStop)
		}
		// The end: everything takes its course.
		for range 10 {
			for _, k := range []kind{evEnded, evSilent, evGrace} {
				if !w.finished && slices.Contains(w.possible(), k) {
					send(k)
				}
			}
		}
		if !w.finished || w.process || w.starts != w.reaps || m.phase != Stopped {
			t.Fatalf("not at the end: %+v, %+v", w, m)
		}
	})
}

// strange reports events after which the model does not know whether the process is stopped: somebody else let it go on.
func (w *world) strange(e event) bool {
	if e.kind == evContinued {
		w.stopped = false
		return true
	}
	return false
}

// possible is what can happen now.
func (w *world) possible() []kind {
	kinds := []kind{cmdStop, cmdKill, cmdFreeze, cmdThaw, cmdSlow}
	if w.process {
		kinds = append(kinds, evStopped, evContinued, evReady, evUnready)
		if !w.ended {
			kinds = append(kinds, evEnded)
		}
		if w.process && !w.silent {
			kinds = append(kinds, evSilent)
		}
	}
	if w.retry {
		kinds = append(kinds, evRetry)
	}
	if w.grace {
		kinds = append(kinds, evGrace)
	}
	if w.pace {
		kinds = append(kinds, evPace, evPace, evPace, cmdSlow, cmdSlow) // or most sequences have no slowness to speak of
	}
	return kinds
}

func apply(t *rapid.T, m *machine, w *world, e event, startFails bool) {
	switch e.kind {
	case evEnded:
		w.ended = true
	case evSilent:
		w.silent = true
	case evRetry:
		w.retry = false
	case evGrace:
		w.grace = false
	case evPace:
		w.pace = false
	case cmdSlow:
		e.share = rapid.SampledFrom([]float64{0, 0.01, 0.5}).Draw(t, "share")
	default:
	}
	var next []event
	for _, a := range m.step(e) {
		if w.finished {
			t.Fatalf("%s after the end", actionNames[a])
		}
		switch a {
		case doStart:
			if w.process {
				t.Fatal("a second process")
			}
			k := evFailed
			if !startFails {
				*w = world{process: true, starts: w.starts + 1, reaps: w.reaps}
				k = evStarted
			}
			next = append(next, event{kind: k, now: e.now, jitter: e.jitter})
		case doProbe, doTerminate, doKill, doFreeze, doThaw:
			if !w.process {
				t.Fatalf("%s without a process", actionNames[a])
			}
			switch a {
			case doFreeze:
				w.stopped = true
			case doThaw:
				w.stopped = false
			default:
			}
		case doPace:
			if p := m.pause(); !w.process || p < paceRun || p > time.Second {
				t.Fatalf("pace in %s", p)
			}
			w.pace = true
		case doReap:
			if !w.process {
				t.Fatal("nothing to reap")
			}
			w.process = false
			w.reaps++
		case doRetry:
			if wait := m.retryAt.Sub(e.now); wait < 0 || wait > backoffMax {
				t.Fatalf("waits %s", wait)
			}
			w.retry = true
		case doGrace:
			w.grace = true
		case doFinish:
			w.finished = true
		}
	}
	if m.running() != w.process && len(next) == 0 {
		t.Fatalf("running is %v, process %v", m.running(), w.process)
	}
	for _, e := range next {
		apply(t, m, w, e, false)
	}
	// Nobody stays stopped whom no one stops; who is slowed goes on with the next pace.
	if w.process && w.stopped && !m.frozen && !m.paused && !w.strange(e) {
		t.Fatalf("left stopped: %+v", m)
	}
	if m.share > 0 && w.process && !w.pace {
		t.Fatal("slowed without a pace")
	}
}
