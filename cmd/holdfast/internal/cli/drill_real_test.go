//go:build real && unix

package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/drill/report"
	"github.com/holdfast-go/holdfast/platform/control"
)

// toDrill is a system of two instances behind an edge.
func toDrill(edge string) string {
	return "system: small\ncontrol: {members: 1}\nservices:\n" +
		"  web: {run: " + yaml(service()+" announced") + ", replicas: 2, http: \"" + edge + "\", env: {HOLDFAST_DRAIN_DELAY: 50ms}}\n"
}

// A system that does not run is started, drilled and stopped; two instances mask what hits one, and not what hits both.
func TestRealDrill(t *testing.T) {
	dir := drilled(t, toDrill(freeAddr(t)), map[string]string{
		"one.yaml":  "for: 16s\nfaults: [{at: 3s, kill: web}, {at: 7s, freeze: web, for: 3s}, {at: 12s, partition: {from: web-1, to: edge}, for: 2s}]\nexpect: {success: 99.9%}\n",
		"both.yaml": "for: 8s\nload: {calls: {home: {get: /, timeout: 2s}}}\nfaults: [{at: 2s, freeze: web/all, for: 5s}]\n",
	})
	for name, want := range map[string]report.Verdict{"one": report.NobodyNoticed, "both": report.UsersNoticed} {
		l := &line{env: map[string]string{"HOLDFAST_CONTROL": freeAddr(t)}}
		file := filepath.Join(dir, name+".json")
		if code := l.run("drill", "--tries", "5", "--json", file, dir, name); code != want.ExitCode() {
			t.Errorf("%s: exit code %d, want %d: %s%s", name, code, want.ExitCode(), l.out.String(), l.err.String())
		}
		b, err := os.ReadFile(file)
		var got struct {
			Drills []report.Report `json:"drills"`
		}
		if err := errors.Join(err, json.Unmarshal(b, &got)); err != nil || len(got.Drills) != 1 || got.Drills[0].Figures.Calls < 100 {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
		c := control.NewClient(l.env["HOLDFAST_CONTROL"])
		if _, err := c.System(t.Context()); !errors.Is(err, control.ErrNotRunning) {
			t.Errorf("%s: the system was left behind: %v", name, err)
		}
		c.Close()
	}
}

// A drill that is killed leaves nothing broken, and no system that it has started.
func TestRealDrillIsKilled(t *testing.T) {
	dir := drilled(t, toDrill(freeAddr(t)), map[string]string{
		"long.yaml": "for: 60s\nfaults: [{at: 1s, freeze: web, for: 50s}, {at: 1s, command: touch broken, undo: rm broken, for: 50s}]\n",
	})
	addr := freeAddr(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, fresh := range []bool{true, false} {
		var s *runningSystem
		if !fresh { // a system that is there already stays, whole
			s = startIn(t, dir)
			s.await(t, "is ready in")
			addr = s.control
		}
		cmd := exec.Command(self, selfArgs[0], "drill", "--control", addr, dir, "long")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		broken := filepath.Join(dir, "broken")
		eventually(t, "the drill breaks something", func() bool { _, err := os.Stat(broken); return err == nil })
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		eventually(t, "the command is undone", func() bool { _, err := os.Stat(broken); return err != nil })
		c := control.NewClient(addr)
		defer c.Close()
		if fresh {
			eventually(t, "the system is gone", func() bool { _, err := c.System(context.Background()); return errors.Is(err, control.ErrNotRunning) })
			continue
		}
		eventually(t, "nothing is broken", func() bool {
			faults, err := c.Faults(context.Background())
			instances, more := c.InstancesOf(context.Background(), "web")
			return err == nil && more == nil && len(faults) == 0 && len(instances) == 2 && instances[0].State == "ready" && instances[1].State == "ready"
		})
	}
}

// Nor does one that is killed while its system is being started, before that one listens, or a moment after.
func TestRealDrillIsKilledAtOnce(t *testing.T) {
	dir := drilled(t, toDrill(freeAddr(t)), map[string]string{"long.yaml": "for: 60s\nfaults: [{at: 1s, freeze: web, for: 50s}]\n"})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{0, 500 * time.Millisecond} {
		temp, addr := t.TempDir(), freeAddr(t)
		data := func() []string {
			found, err := filepath.Glob(filepath.Join(temp, "holdfast-drill-*"))
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		cmd := exec.Command(self, selfArgs[0], "drill", "--control", addr, dir, "long")
		cmd.Env = append(os.Environ(), "TMPDIR="+temp)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the system is being started", func() bool { return len(data()) > 0 })
		<-time.After(after)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		eventually(t, "its data is gone", func() bool { return len(data()) == 0 })
		c := control.NewClient(addr)
		if _, err := c.System(t.Context()); !errors.Is(err, control.ErrNotRunning) {
			t.Errorf("killed after %v, it has left a system behind: %v", after, err)
		}
		c.Close()
	}
}

// Ctrl-C mends, stops what was started, and is no verdict.
func TestRealDrillIsInterrupted(t *testing.T) {
	dir := drilled(t, toDrill(freeAddr(t)), map[string]string{"long.yaml": "for: 60s\nfaults: [{at: 1s, freeze: web, for: 50s}]\n"})
	l := &line{env: map[string]string{"HOLDFAST_CONTROL": freeAddr(t)}, interrupts: make(chan os.Signal, 1)}
	code := make(chan int, 1)
	go func() { code <- l.run("drill", dir, "long") }()
	eventually(t, "something is broken", func() bool { return strings.Contains(l.out.String(), "freeze web-") })
	l.interrupts <- os.Interrupt
	select {
	case c := <-code:
		if c != 2 || !strings.Contains(l.out.String(), "interrupted") {
			t.Errorf("exit code %d: %s%s", c, l.out.String(), l.err.String())
		}
	case <-time.After(time.Minute):
		t.Fatal("the drill goes on")
	}
}

// eventually polls for what takes processes a while.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	eventuallyWithin(t, 90*time.Second, what, done)
}

func eventuallyWithin(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		<-time.After(100 * time.Millisecond)
	}
}
