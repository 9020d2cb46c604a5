//go:build unix

package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/drill/inject"
)

// drilled is a directory with a system file and drills.
func drilled(t *testing.T, system string, drills map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"system.yaml": system}
	for name, text := range drills {
		files[filepath.Join("drills", name)] = text
	}
	if err := os.Mkdir(filepath.Join(dir, "drills"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func twoServices() string {
	return "system: small\ncontrol: {members: 1}\nservices:\n" +
		"  web: {run: " + yaml(service()+" announced") + ", replicas: 2, http: 127.0.0.1:8089}\n" +
		"  store: {run: " + yaml(service()) + "}\n"
}

func TestDrillList(t *testing.T) {
	dir := drilled(t, twoServices(), map[string]string{
		"standard.yaml": "for: 20s\nload: {calls: {home: {get: /}}}\n",
		"mine.yaml":     "about: Mine alone.\nfaults: [{at: 5s, kill: web}]\n",
		"quick.yaml":    "about: Instead of the standard one.\nfor: 90s\n",
	})
	l := &line{}
	if code := l.run("drill", "list", dir); code != 0 {
		t.Fatal(l.err.String())
	}
	golden(t, "drill-list.golden", l.out.String())
}

func TestDrillOfWhatIsNotThere(t *testing.T) {
	dir := drilled(t, twoServices(), map[string]string{"mine.yaml": "faults:\n  - {at: 5s, kill: wbe}\n"})
	l := &line{}
	if code := l.run("drill", "list", dir); code != 2 || !strings.Contains(l.err.String(), `mine.yaml:2: kill: the system has no service and no instance "wbe"; did you mean web?`) {
		t.Errorf("exit %d: %s%s", code, l.out.String(), l.err.String())
	}
}

func TestDrillInit(t *testing.T) {
	dir := drilled(t, twoServices(), map[string]string{"random.yaml": "for: 20s\n"})
	l := &line{}
	if code := l.run("drill", "init", dir); code != 0 {
		t.Fatal(l.err.String())
	}
	golden(t, "drill-init.golden", strings.ReplaceAll(strings.ReplaceAll(l.out.String(), relativeTo(t, dir), "DIR"), dir, "DIR"))
	if b, err := os.ReadFile(filepath.Join(dir, "drills", "random.yaml")); string(b) != "for: 20s\n" {
		t.Errorf("a file that was there is now %q, %v", b, err)
	}
	if code := l.run("drill", "list", dir); code != 0 || !strings.Contains(l.out.String(), "instances-die") {
		t.Errorf("what was written is not right: %s%s", l.out.String(), l.err.String())
	}
}

// relativeTo is how commands write a directory: relative to this one, if that is shorter.
func relativeTo(t *testing.T, dir string) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if rel, err := filepath.Rel(wd, dir); err == nil && len(rel) < len(dir) {
		return rel
	}
	return dir
}

// What cannot be run ends with 2, as wrong use does, so that no CI takes it for a verdict on the system.
func TestDrillsThatCannotBeRun(t *testing.T) {
	good := drilled(t, twoServices(), map[string]string{"mine.yaml": "faults: [{at: 5s, kill: web}]\n"})
	bad := drilled(t, twoServices(), map[string]string{"mine.yaml": "faults: [{at: 5s, kil: web}]\n"})
	alone := drilled(t, "system: small\nregistry: etcd://127.0.0.1:1\nservices: {web: {run: "+yaml(service())+"}}", nil)
	for _, tc := range []struct{ args, want string }{
		{"drill /nowhere", "there is no /nowhere"},
		{"drill " + good + " mien", `no drill "mien"; did you mean mine?`},
		{"drill " + good + " xyz", "drills: mine, quick, kill-each,"},
		{"drill " + bad, "mine.yaml:1:19: unknown field kil; did you mean kill?"},
		{"drill " + alone, "nobody could stand in for anybody"},
		{"drill --all " + good + " mine", "--all are all of them"},
		{"drill --all --random " + good, "--all are all of them"},
		{"drill --for -1s " + good, "--for and --every want a time"},
		{"drill --tries 0 " + good, "--tries wants a number, of 1 at least"},
		{"drill --for 4s " + good + " mine", "--for 4s is too short for mine"},
		{"drill --json - --html - " + good, "only one report can go to standard output"},
		{"drill --json /nowhere/x.json " + good, "/nowhere"},
		{"drill --html " + good + " " + good, "it is a directory"},
		{"drill --html " + good + "/reports/ " + good, "it is a directory"},
		{"drill --queue ftp://x " + good + " mine", "could not be started"},
		{"drill --sed 7 " + good, "unknown flag: --sed"},
		{"drill list " + bad, "unknown field kil"},
		{"drill list a b", `unexpected argument "b"`},
	} {
		l := &line{env: map[string]string{"HOLDFAST_CONTROL": freeAddr(t)}}
		if code := l.run(strings.Fields(tc.args)...); code != 2 || !strings.Contains(l.err.String(), tc.want) {
			t.Errorf("%s: exit code %d, %q; want 2, %q", tc.args, code, l.err.String(), tc.want)
		}
	}
}

func TestAnotherSystemIsNotDrilled(t *testing.T) {
	_, l := serve(t)
	dir := drilled(t, twoServices(), nil)
	if code := l.run("drill", dir); code != 2 || !strings.Contains(l.err.String(), "the system shop of examples/shop runs at") {
		t.Errorf("exit code %d, %s", code, l.err.String())
	}
}

// The guard undoes what was not undone when the drill's end of the pipe goes, the last first.
func TestDrillGuard(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	undo := func(id int) string {
		b, err := json.Marshal(map[string]any{"id": id, "undo": inject.Undo{
			Run: fmt.Sprintf("echo %d $HOLDFAST_EDGE >> undone", id), Dir: dir, Env: []string{"HOLDFAST_EDGE=http://edge"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + "\n"
	}
	cmd := exec.Command(self, selfArgs[0], "drill-guard")
	cmd.Stdin = strings.NewReader(undo(1) + undo(2) + undo(3) + `{"id":2,"done":true}` + "\n" + `{"down":{"dir":"` + data + `"}}` + "\n" + `{"id":4,"un`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "undone")); string(b) != "3 http://edge\n1 http://edge\n" {
		t.Errorf("undone: %q, %v", b, err)
	}
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data that the drill has made is still there: %v", err)
	}
}
