//go:build unix

package supervise_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/platform/supervise"
)

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		full := filepath.Join(dir, name)
		check(t, os.MkdirAll(filepath.Dir(full), 0o755))
		check(t, os.WriteFile(full, []byte(content), 0o644))
	}
	return dir
}

// says is a program that does not even need fmt, which keeps the test fast.
func says(what string) string { return "package main\n\nfunc main() { println(\"" + what + "\") }\n" }

func TestBuild(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"go.mod":          "module example.com/shop\n\ngo 1.26\n",
		"main.go":         says("root"),
		"gateway/main.go": says("gateway"),
		"a/server/m.go":   says("a"),
		"b/server/m.go":   says("b"),
		"tool/v2/main.go": says("v2"),
		"other/go.mod":    "module example.com/other\n\ngo 1.26\n",
		"other/x/main.go": says("x"),
	})
	var compiled []string
	b := supervise.Build{
		Dir: dir, Out: filepath.Join(dir, "out"),
		Packages: []string{"./gateway", "gateway", "./a/server", "./b/server", "./tool/v2", "./other/x", "."},
		Progress: func(what string) { compiled = append(compiled, what) },
	}
	if _, err := b.Existing(); err == nil || !strings.Contains(err.Error(), "program of ./gateway is not built") {
		t.Error(err)
	}
	programs, err := b.Run(soon(t))
	check(t, err)
	for pkg, want := range map[string]string{
		"./gateway": "gateway", "gateway": "gateway", "./a/server": "a", "./b/server": "b", "./tool/v2": "v2",
		"./other/x": "x", ".": "root",
	} {
		out, err := exec.Command(programs[pkg]).CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%s: %s: %s, %v", pkg, programs[pkg], out, err)
		}
	}
	if !slices.Contains(compiled, "example.com/shop/gateway") {
		t.Errorf("progress %q", compiled)
	}
	existing, err := b.Existing()
	if err != nil || !maps.Equal(existing, programs) {
		t.Errorf("%v, %v", existing, err)
	}
	for words, want := range map[string]bool{"./gateway": true, "./gateway --flag": false, "go": false, "main.go": false, "": false} {
		if got := b.IsPackage(strings.Fields(words)); got != want {
			t.Errorf("IsPackage(%q) = %v", words, got)
		}
	}
}

func TestBuildErrors(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"go.mod":       "module example.com/shop\n\ngo 1.26\n",
		"good/main.go": says("good"),
		"bad/main.go":  "package main\n\nfunc main() { undefinedName() }\n",
		"lib/lib.go":   "package lib\n",
		"none/x.txt":   "",
	})
	run := func(ctx context.Context, packages ...string) error {
		_, err := supervise.Build{Dir: dir, Out: filepath.Join(dir, "out"), Packages: packages}.Run(ctx)
		return err
	}
	var failed *supervise.BuildError
	err := run(soon(t), "./good", "./bad")
	if !errors.As(err, &failed) || !strings.Contains(failed.Output, "bad/main.go:3:15: undefined: undefinedName") {
		t.Errorf("got %v", err)
	}
	err = run(soon(t), "./good", "./lib", "./none", "./missing")
	if !errors.As(err, &failed) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"./lib: package lib is not a program (package main)", "./none: no ", "./missing: "} {
		if !strings.Contains(failed.Output, want) {
			t.Errorf("no %q in %q", want, failed.Output)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := run(ctx, "./good"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	check(t, run(soon(t)))
}

// Each module is built with the overlay for its own Go.
func TestBuildOverlay(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"go.mod":       "module example.com/shop\n\ngo 1.26\n",
		"main.go":      says("before"),
		"over/main.go": says("after"),
	})
	overlay := filepath.Join(dir, "overlay.json")
	check(t, os.WriteFile(overlay, []byte(`{"Replace": {"`+filepath.Join(dir, "main.go")+`": "`+filepath.Join(dir, "over", "main.go")+`"}}`), 0o644))
	var asked []string
	b := supervise.Build{
		Dir: dir, Out: filepath.Join(dir, "out"), Packages: []string{"."},
		Overlay: func(goroot string) (string, error) {
			asked = append(asked, goroot)
			return overlay, nil
		},
	}
	programs, err := b.Run(soon(t))
	check(t, err)
	if out, err := exec.Command(programs["."]).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "after" {
		t.Errorf("it says %q, %v", out, err)
	}
	if len(asked) != 1 || !filepath.IsAbs(asked[0]) {
		t.Errorf("asked for %q", asked)
	}
	b.Overlay = func(string) (string, error) { return "", errors.New("unknown Go") }
	if _, err := b.Run(soon(t)); err == nil || !strings.Contains(err.Error(), "unknown Go") {
		t.Errorf("without an overlay: %v", err)
	}
}
