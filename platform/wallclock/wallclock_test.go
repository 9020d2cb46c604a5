package wallclock

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// goroot is where the Go is that runs this test.
func goroot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestClocks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "clocks")
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if c.Env() != Variable+"="+dir {
		t.Errorf("%s", c.Env())
	}
	if err := c.Set("a-1", time.Hour); !errors.Is(err, ErrFixed) || c.Follows("a-1") {
		t.Errorf("an instance that does not look: %v", err)
	}
	file := filepath.Join(dir, "a-1")
	if err := os.WriteFile(file, make([]byte, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Set("a-1", -time.Hour); err != nil || !c.Follows("a-1") {
		t.Errorf("one that does: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || len(b) != 8 || string(b) == string(make([]byte, 8)) {
		t.Errorf("its file is % x, %v", b, err)
	}
	if err := c.Set("../a-1", 1); !errors.Is(err, ErrFixed) {
		t.Errorf("a file elsewhere: %v", err)
	}
	if c, err = Open(dir); err != nil || c.Follows("a-1") {
		t.Errorf("what was left is used again: %v", err)
	}
}

func TestPatch(t *testing.T) {
	source, err := os.ReadFile(filepath.Join(goroot(t), "src", "time", "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := patch(string(source))
	if err != nil {
		t.Fatal(err)
	}
	if added := strings.Replace(got, "\tsec, nsec = holdfastClock(sec, nsec)\n", "", 1); added != string(source) {
		t.Error("more was changed than one line")
	}
	for _, bad := range []string{
		"", "package time\n",
		"\nfunc Now() Time {\n\treturn other()\n}\n",
		"\nfunc Now() Time {\n\tsec, nsec, mono := now()\n",
		"\nfunc Now() Time {\n\treturn other()\n}\n\nfunc Other() {\n\tsec, nsec, mono := now()\n}\n",
		"\nfunc Now() Time {\n\tsec, nsec, mono := now()\n\tsec, nsec, mono := now()\n}\n",
	} {
		if got, err := patch(bad); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
}

func TestOverlay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "overlay")
	file, err := Overlay(goroot(t), dir)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(filepath.Join(dir, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Overlay(goroot(t), dir); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(filepath.Join(dir, "time.go")); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("a file that was right has been written again: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), filepath.Join(goroot(t), "src", "time", "time.go")) {
		t.Errorf("%s, %v", b, err)
	}
	if _, err := Overlay(t.TempDir(), dir); err == nil {
		t.Error("no Go at all was taken for one")
	}
}
