//go:build real && unix

package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A member that has lost its data keeps a system of three from nothing: it is up, tells of it, and takes an empty one in its place.
func TestRealUpWithoutOneMember(t *testing.T) {
	file := "system: worn\ncontrol: {members: 3}\nservices:\n  web: {run: " + yaml(service()+" announced") + ", env: {HOLDFAST_DRAIN_DELAY: 50ms}}\n"
	s := up(t, file)
	s.interrupts <- os.Interrupt
	if code := s.end(t); code != 0 {
		t.Fatalf("up ended with %d: %s", code, s.err.String())
	}
	if err := os.RemoveAll(filepath.Join(s.dir, "data", "control", "control-2", "member", "wal")); err != nil {
		t.Fatal(err)
	}
	s = startIn(t, s.dir)
	s.await(t, "is ready in")
	told, _, _ := strings.Cut(s.out.String(), "is ready in")
	if !strings.Contains(told, "control-2 keeps crashing: exit status 1: ") || !strings.Contains(told, "has lost its data") || !strings.Contains(told, "; going on without it") {
		t.Errorf("up does not say that a member is missing:\n%s", told)
	}
	if got := s.ps(t); got["control-2"].State == "ready" || got["control-1"].State != "ready" || got["control-3"].State != "ready" || got["web-1"].State != "ready" {
		t.Errorf("ps = %+v", got)
	}
	if _, err := s.client(t).Wipe(t.Context(), "control-2"); err != nil {
		t.Errorf("the repair: %v", err)
	}
	for id, i := range s.ps(t) {
		if i.State != "ready" {
			t.Errorf("after the repair %s is %s", id, i.State)
		}
	}
}

// A wipe of all members that does not come to its end ends the system, and says why; it begins when the next start has ended the wipe.
func TestRealWipeThatFails(t *testing.T) {
	file := "system: worn\ncontrol: {members: 1}\nservices:\n  web: {run: " + yaml(service()+" announced") + ", env: {HOLDFAST_DRAIN_DELAY: 50ms}}\n"
	s := up(t, file)
	kept := filepath.Join(s.dir, "data", "control", "control-1")
	if err := os.Rename(kept, kept+".away"); err != nil { // it goes on with the files that it has open
		t.Fatal(err)
	}
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client(t).Wipe(t.Context(), "control"); err == nil {
		t.Error("the wipe has failed, and nobody says so")
	}
	if code := s.end(t); code != 1 || !strings.Contains(s.err.String(), "holdfast up: wipe control-1: ") {
		t.Errorf("up ended with %d: %s", code, s.err.String())
	}
	again := startIn(t, s.dir)
	if code := again.end(t); code != 1 || !strings.Contains(again.err.String(), "wipe control-1: ") {
		t.Errorf("up again ended with %d: %s", code, again.err.String())
	}
	if err := os.Remove(kept); err != nil {
		t.Fatal(err)
	}
	startIn(t, s.dir).await(t, "is ready in")
}
