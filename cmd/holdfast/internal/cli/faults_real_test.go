//go:build real && unix

package cli_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

// until waits until something is so.
func (s *runningSystem) until(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-deadline.C:
			t.Fatalf("not so: %s; up printed:\n%s", what, s.out.String())
		case <-tick.C:
		}
	}
}

// Processes suffer what they are told, also when they are started again, and nothing is left of it in the end.
func TestRealFaults(t *testing.T) {
	edge := freeAddr(t)
	s := up(t, "system: broken\ncontrol: {members: 3}\nservices:\n"+
		"  web: {run: "+yaml(service()+" announced")+", replicas: 2, env: {HOLDFAST_DRAIN_DELAY: 50ms}, http: \""+edge+"\"}\n"+
		"  legacy: {run: "+yaml(service())+"}\n")
	ctx := context.Background()
	c := s.client(t)
	inject := func(req control.FaultRequest) control.Fault {
		t.Helper()
		f, err := c.Inject(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	mend := func(f control.Fault) {
		t.Helper()
		if err := c.Mend(ctx, f.ID); err != nil {
			t.Fatal(err)
		}
	}
	direct := func(id string, within time.Duration) bool {
		t.Helper()
		client := &http.Client{Timeout: within, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get("http://" + s.ps(t)[id].Addr + "/")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return true
	}
	served := func(by string) {
		t.Helper()
		for range 6 {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+edge+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s: the edge answers %s", by, resp.Status)
			}
		}
	}
	defer http.DefaultClient.CloseIdleConnections()

	// One that is cut off from everybody is so after a restart, too; nobody notices.
	cut := inject(control.FaultRequest{
		Kind: control.FaultNet, TTL: control.MaxTTL, Note: "by a test",
		Links: []control.Link{{From: []string{"web-1"}, To: []string{control.Everybody}, Shape: control.Shape{CutOut: true, CutIn: true}}},
	})
	served("cut off")
	if direct("web-1", 300*time.Millisecond) || !direct("web-2", 5*time.Second) {
		t.Error("the wrong one is cut off")
	}
	if out := s.do(t, "ps"); !strings.Contains(out, "nothing passes between web-1 and everybody else (by a test)") {
		t.Errorf("ps printed:\n%s", out)
	}
	killed := s.ps(t)["web-1"].PID
	s.do(t, "kill", "web-1")
	s.until(t, "the next process follows", func() bool {
		stats, err := c.Stats(ctx)
		pid := stats.Instances["web-1"].PID
		return err == nil && pid != 0 && pid != killed
	})
	served("killed")
	if direct("web-1", 300*time.Millisecond) {
		t.Error("the new process is not cut off")
	}
	mend(cut)
	s.await(t, "web-1 ready again")

	// The lease of somebody who does not come back.
	inject(control.FaultRequest{Kind: control.FaultFreeze, TTL: 500 * time.Millisecond, Targets: []string{"web-2", "control-2", "legacy-1"}})
	s.await(t, "nobody has renewed its lease for 500ms")
	s.await(t, "legacy-1 thawed")
	served("thawed")

	// What a foreign program cannot be told is refused.
	_, err := c.Inject(ctx, control.FaultRequest{Kind: control.FaultMemory, Targets: []string{"legacy-1"}, Bytes: 1})
	if failure.CodeOf(err) != failure.FailedPrecondition || !strings.Contains(err.Error(), "--netns") {
		t.Errorf("got %v", err)
	}
	s.until(t, "web-1 has said something", func() bool {
		stats, err := c.Stats(ctx)
		return err == nil && stats.Instances["web-1"].PID == s.ps(t)["web-1"].PID
	})
	stats, err := c.Stats(ctx)
	if _, foreign := stats.Instances["legacy-1"]; err != nil || foreign || stats.Edge.Served == 0 {
		t.Errorf("%+v, %v", stats, err)
	}

	// A registry that has forgotten everything, and one of its members that has.
	for _, target := range []string{"control-2", "control"} {
		if _, err := c.Wipe(ctx, target); err != nil {
			t.Fatal(err)
		}
		served("without " + target)
	}
	s.do(t, "restart", "web") // which takes the registry
	served("restarted")

	// A stop does not wait for who is frozen.
	inject(control.FaultRequest{Kind: control.FaultFreeze, TTL: control.MaxTTL, Targets: []string{"web-1", "control-1"}})
	inject(control.FaultRequest{Kind: control.FaultSlowCPU, TTL: control.MaxTTL, Targets: []string{"web-2"}, Share: 0.2})
	s.interrupts <- os.Interrupt
	if code := s.end(t); code != 0 {
		t.Errorf("up ended with %d: %s", code, s.err.String())
	}
	if out := s.out.String(); !strings.Contains(out, "mended: web-1 and control-1 are frozen; the system stops") || strings.Contains(out, "killed by SIGKILL; it did not end") {
		t.Errorf("up printed:\n%s", out)
	}
}
