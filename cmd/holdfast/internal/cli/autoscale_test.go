//go:build unix

package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUpScalesByLoad: a service grows and shrinks by what its instances say, is left alone at a number that was set by hand, and
// is given back.
func TestUpScalesByLoad(t *testing.T) {
	t.Parallel()
	load := filepath.Join(t.TempDir(), "load")
	say := func(number string) {
		t.Helper()
		if err := os.WriteFile(load+".new", []byte(number), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(load+".new", load); err != nil {
			t.Fatal(err)
		}
	}
	say("1")
	s := up(t, "system: elastic\nregistry: etcd://127.0.0.1:1\nservices:\n"+
		"  web:\n    run: "+yaml(service())+"\n    env: {LOAD: "+yaml(load)+"}\n"+
		"    autoscale: {min: 1, max: 3, target: {custom: {path: /load, value: 10}}, up-after: 500ms, down-after: 1s}\n")

	say("25")
	s.await(t, "web scaled 1 → 2: /load says 25 per instance, target 10")
	s.await(t, "web-2 ready")
	s.await(t, "web scaled 2 → 3: /load says 25 per instance, target 10")
	s.await(t, "web has 3 instances")
	if out := s.do(t, "scale"); !strings.Contains(out, "1 to 3") {
		t.Errorf("scale lists:\n%s", out)
	}

	if out := s.do(t, "scale", "web", "1"); !strings.Contains(out, "web is not scaled by its load from now on; scale web auto gives it back") {
		t.Errorf("scale printed:\n%s", out)
	}
	if out := s.do(t, "scale"); !strings.Contains(out, "set to 1 by hand") {
		t.Errorf("scale lists:\n%s", out)
	}
	say("1")
	if out := s.do(t, "scale", "web", "auto"); !strings.Contains(out, "web is scaled by its load; it has 1 instance now") {
		t.Errorf("scale printed:\n%s", out)
	}
	say("15")
	s.awaitTimes(t, 2, "web scaled 1 → 2: /load says ") // 15, or for a moment still what it said before
	say("1")
	s.await(t, "→ 1: /load says 1 per instance, target 10") // of 2, or of 3 by now
	s.await(t, "web has 1 instance\n")
}
