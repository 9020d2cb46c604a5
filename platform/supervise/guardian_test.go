//go:build unix

package supervise

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Guard kills what it was told of and not told to forget, stopped or not, and nothing else.
func TestGuard(t *testing.T) {
	start := func() *exec.Cmd {
		cmd := exec.Command("sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	guarded, stopped, forgotten := start(), start(), start()
	defer func() {
		_ = forgotten.Process.Kill()
		_ = forgotten.Wait()
	}()
	ended := make(chan error, 2)
	for _, cmd := range []*exec.Cmd{guarded, stopped} {
		go func() { ended <- cmd.Wait() }()
	}
	if err := stopped.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	id := func(cmd *exec.Cmd) string { return strconv.Itoa(cmd.Process.Pid) }
	var hello strings.Builder
	script := "+ " + id(guarded) + "\n+ " + id(stopped) + "\n+ " + id(forgotten) + "\n- " + id(forgotten) +
		"\n\n+\n+ x\n+ 0\n+ 1\n+ -1\n? 5\n"
	if err := Guard(strings.NewReader(script), &hello); err != nil || hello.String() != guardHello {
		t.Error(err, hello.String())
	}
	for range 2 {
		<-ended
	}
	if err := forgotten.Process.Signal(syscall.Signal(0)); err != nil {
		t.Error("killed, too:", err)
	}
}

func FuzzGuardLines(f *testing.F) {
	f.Add("+ 0\n- 0\n+ 1\n\n+ 99999999999999999999\n")
	f.Add("-\n+\n+ -5\n+ 5\n")
	f.Fuzz(func(t *testing.T, lines string) {
		groups, err := groupsOf(strings.NewReader(lines))
		if err != nil {
			t.Error(err)
		}
		for id := range groups {
			if id <= 1 {
				t.Errorf("would kill the group %d", id)
			}
		}
	})
}

func TestSpawnerLooksUp(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"./bin/x": dir + "/bin/x", "bin/x": dir + "/bin/x", "/bin/sh": "/bin/sh",
	} {
		if got, err := lookup(name, dir); err != nil || got != want {
			t.Errorf("lookup(%s) = %s, %v", name, got, err)
		}
	}
	if got, err := lookup("sh", dir); err != nil || !strings.HasSuffix(got, "/sh") {
		t.Error(got, err)
	}
	if _, err := lookup("no-such-program-anywhere", dir); err == nil {
		t.Error("found")
	}
}
