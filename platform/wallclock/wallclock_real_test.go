//go:build real && unix

package wallclock

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// told prints the time that it is, and how long it has run, for every line that it is given.
const told = `package main

import (
	"bufio"
	"fmt"
	"os"
	"time"
)

func main() {
	begun := time.Now()
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		fmt.Println(time.Now().UnixNano(), int64(time.Since(begun)))
	}
}
`

// The wall clock of a program jumps while it runs, back and forth, and what it measures does not.
func TestRealProgram(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"main.go": told, "go.mod": "module told\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := Overlay(goroot(t), filepath.Join(dir, "overlay"))
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-overlay", overlay, "-o", "told", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c, err := Open(filepath.Join(dir, "clocks"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "told"))
	cmd.Env = append(os.Environ(), c.Env(), "HOLDFAST_INSTANCE=a-1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = cmd.Wait() }()
	lines := bufio.NewScanner(out)
	begun := time.Now()
	for _, by := range []time.Duration{0, -2 * time.Hour, 90*time.Second + 999_999_999, 0} {
		if by != 0 || c.Follows("a-1") {
			if err := c.Set("a-1", by); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Fprintln(in)
		var wall, ran int64
		if !lines.Scan() {
			t.Fatal("it says nothing")
		}
		if _, err := fmt.Sscan(lines.Text(), &wall, &ran); err != nil {
			t.Fatal(err)
		}
		if wrong := time.Until(time.Unix(0, wall)) - by; wrong.Abs() > 10*time.Second {
			t.Errorf("set wrong by %s, it is off that by %s", by, wrong)
		}
		if ran := time.Duration(ran); ran < 0 || ran > time.Since(begun)+time.Second {
			t.Errorf("set wrong by %s, it has run for %s", by, ran)
		}
	}
}
