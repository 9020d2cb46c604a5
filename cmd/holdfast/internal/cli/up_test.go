//go:build unix

package cli_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/cli"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

func TestUpAndEverythingElse(t *testing.T) {
	t.Parallel()
	s := up(t, withoutMembers())
	before := s.ps(t)
	if len(before) != 3 || before["web-1"].State != "ready" || before["web-1"].PID == 0 {
		t.Fatalf("ps = %+v", before)
	}

	s.do(t, "kill", "web-1")
	s.await(t, "web-1 died: killed by SIGKILL, as asked for; starting it again")
	s.await(t, "web-1 ready again")
	after := s.ps(t)
	if after["web-1"].PID == before["web-1"].PID || after["web-1"].Addr != before["web-1"].Addr || after["web-1"].Restarts != 1 {
		t.Errorf("after a kill: %+v, before: %+v", after["web-1"], before["web-1"])
	}

	s.do(t, "freeze", "web-2")
	s.await(t, "web-2 frozen")
	s.do(t, "thaw", "web")
	s.await(t, "web-2 thawed")

	if out := s.do(t, "scale", "web", "3"); !strings.Contains(out, "web-3 ready") || !strings.Contains(out, "web has 3 instances") {
		t.Errorf("scale printed:\n%s", out)
	}
	if out := s.do(t, "restart", "store"); !strings.Contains(out, "store-2 ready") || !strings.Contains(out, "store-1 stopped") || !strings.Contains(out, "store-1 ready") || !strings.Contains(out, "store-2 stopped") {
		t.Errorf("restart printed:\n%s", out)
	}
	if out := s.do(t, "restart", "web-3"); !strings.Contains(out, "web-3 stopped") || strings.Contains(out, "web-1 ") {
		t.Errorf("restart of one printed:\n%s", out)
	}
	if now := s.ps(t); len(now) != 4 || now["store-1"].State != "ready" {
		t.Errorf("ps = %+v", now)
	}
	if out := s.do(t, "logs", "store"); !strings.Contains(out, "store-1 | hello from store-1") || !strings.Contains(out, "store-2 | hello from store-2") {
		t.Errorf("logs printed:\n%s", out)
	}

	if out := s.do(t, "down"); !strings.Contains(out, "web-1 stopped") || !strings.Contains(out, "small is down") {
		t.Errorf("down printed:\n%s", out)
	}
	if code := s.end(t); code != 0 {
		t.Errorf("up ended with %d: %s", code, s.err.String())
	}
	for _, i := range after {
		if alive(i.PID) {
			t.Errorf("%s (pid %d) is left", i.ID, i.PID)
		}
	}
	if code := s.run("ps"); code != 1 || !strings.Contains(s.err.String(), "no system is running") {
		t.Errorf("ps = %d, %s", code, s.err.String())
	}
}

func TestServicesAreToldWhereMessagesGo(t *testing.T) {
	t.Parallel()
	s := up(t, withoutMembers(), "--queue", "nats://127.0.0.1:1")
	if out := s.do(t, "logs", "store"); !strings.Contains(out, "store-1 | messages go to nats://127.0.0.1:1\n") {
		t.Errorf("logs printed:\n%s", out)
	}
	l := &line{env: map[string]string{"HOLDFAST_CONTROL": "127.0.0.1:1"}}
	if code := l.run("up", "--queue", "kafka://u:secret@127.0.0.1:1", s.dir); code != 2 || !strings.Contains(l.err.String(), "--queue: the URL has credentials in it") ||
		strings.Contains(l.err.String(), "secret") {
		t.Errorf("exit code %d: %s", code, l.err.String())
	}
}

func TestCtrlCStopsInOrder(t *testing.T) {
	t.Parallel()
	s := up(t, withoutMembers())
	s.interrupts <- os.Interrupt
	if code := s.end(t); code != 0 {
		t.Errorf("up ended with %d: %s", code, s.err.String())
	}
	out := s.out.String()
	web, store := strings.LastIndex(out, "web-2 stopped"), strings.LastIndex(out, "store-1 stopped")
	if web < 0 || store < web || !strings.HasSuffix(out, "small is down\n") {
		t.Errorf("web has to stop before store, which it needs:\n%s", out)
	}
}

func TestASecondCtrlCKills(t *testing.T) {
	t.Parallel()
	s := up(t, "system: deaf\nregistry: etcd://127.0.0.1:1\nservices:\n  web: {run: "+yaml("sh -c 'trap \"\" TERM; while :; do sleep 1; done'")+"}\n")
	pid := s.ps(t)["web-1"].PID
	s.interrupts <- os.Interrupt
	s.await(t, "stopping deaf")
	s.interrupts <- os.Interrupt
	if code := s.end(t); code != 1 || s.err.String() != "holdfast up: killed before everything had stopped\n" {
		t.Errorf("up ended with %d: %s", code, s.err.String())
	}
	if out := s.out.String(); strings.Contains(out, "is down") || !strings.HasSuffix(out, "deaf was killed\n") {
		t.Errorf("it says that the stop was one:\n%s", out)
	}
	if alive(pid) {
		t.Error("the deaf service lives on")
	}
}

// unread is output whose reader stops at the first line that has a text, as a pager does when its page is full, until goOn is closed.
type unread struct {
	buffer
	until string
	goOn  chan struct{}
}

func (u *unread) Write(p []byte) (int, error) {
	_, _ = u.buffer.Write(p)
	if strings.Contains(u.String(), u.until) {
		<-u.goOn
	}
	return len(p), nil
}

// In "holdfast up | less" nobody reads on by himself: what is killed is killed all the same, and up does not wait for ever to say so.
func TestASecondCtrlCKillsThoughNobodyReads(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), freeAddr(t)
	file := "system: deaf\nregistry: etcd://127.0.0.1:1\nservices:\n  web: {run: " + yaml("sh -c 'trap \"\" TERM; while :; do sleep 1; done'") + "}\n"
	if err := os.WriteFile(filepath.Join(dir, "system.yaml"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	out := &unread{until: "is ready in", goOn: make(chan struct{})}
	s := &runningSystem{line: &line{env: map[string]string{"HOLDFAST_CONTROL": addr}}, interrupts: make(chan os.Signal, 4), code: make(chan int, 1)}
	go func() {
		s.code <- cli.Main(cli.Process{
			Args: []string{"holdfast", "up", "--data", filepath.Join(dir, "data"), dir}, In: strings.NewReader(""), Out: out, Err: &s.err,
			Getenv: func(key string) string { return s.env[key] }, Environ: os.Environ, Interrupts: s.interrupts, SelfArgs: selfArgs,
		})
	}()
	defer func() {
		close(out.goOn)
		s.end(t)
	}()
	soon := func(what string, is func() bool) {
		t.Helper()
		deadline := time.NewTimer(15 * time.Second) // less than a service that is asked to stop may take
		defer deadline.Stop()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for !is() {
			select {
			case <-deadline.C:
				t.Fatalf("%s: not yet; it printed:\n%s%s", what, out.String(), s.err.String())
			case <-tick.C:
			}
		}
	}
	soon("it is ready", func() bool { return strings.Contains(out.String(), out.until) })
	pid := s.ps(t)["web-1"].PID
	s.interrupts <- os.Interrupt
	s.interrupts <- os.Interrupt
	soon("the deaf service is gone", func() bool { return !alive(pid) })
	if code := s.end(t); code != 1 || s.err.String() != "holdfast up: killed before everything had stopped\n" {
		t.Errorf("up ended with %d: %s", code, s.err.String())
	}
}

// In "holdfast up | tee FILE" a Ctrl-C ends tee, too, and the next line that up prints has no reader.
func TestUpOutlivesItsReader(t *testing.T) {
	t.Parallel()
	dir, addr := t.TempDir(), freeAddr(t)
	if err := os.WriteFile(filepath.Join(dir, "system.yaml"), []byte(withoutMembers()), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], selfArgs[0], "up", "--control", addr, "--data", filepath.Join(dir, "data"), dir)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	lines := bufio.NewScanner(r)
	for lines.Scan() && !strings.Contains(lines.Text(), "is ready in") {
		t.Log(lines.Text())
	}
	r.Close()
	// What it prints of this has no reader; it goes on and says so where it is asked.
	l := &line{env: map[string]string{"HOLDFAST_CONTROL": addr}}
	if code := l.run("scale", "web", "3"); code != 0 {
		t.Errorf("scale: %d %s", code, l.err.String())
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("up ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		_ = cmd.Process.Kill()
		t.Error("up has not ended")
	}
}

// When a terminal closes, the kernel sends one and the shell another.
func TestTwoHangupsAreNotASecondCtrlC(t *testing.T) {
	t.Parallel()
	s := up(t, "system: slow\nregistry: etcd://127.0.0.1:1\nservices:\n  web: {run: "+
		yaml("sh -c 'trap \"sleep 1; echo finished; exit\" TERM; while :; do sleep 0.1; done'")+"}\n")
	s.interrupts <- syscall.SIGHUP
	s.await(t, "stopping slow")
	s.interrupts <- syscall.SIGHUP
	if code := s.end(t); code != 0 || !strings.HasSuffix(s.out.String(), "slow is down\n") {
		t.Errorf("up ended with %d: %s%s", code, s.out.String(), s.err.String())
	}
}

func TestCommandsSayWhyAServiceCrashes(t *testing.T) {
	t.Parallel()
	switchFile := filepath.Join(t.TempDir(), "broken")
	s := up(t, "system: sick\nregistry: etcd://127.0.0.1:1\nservices:\n  web: {run: "+
		yaml("sh -c '[ ! -e "+switchFile+" ] || { echo no database; exit 7; }; exec sleep 60'")+"}\n")
	if err := os.WriteFile(switchFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"restart web", "scale web 2"} {
		l := &line{env: s.env}
		code := l.run(strings.Fields(args)...)
		if got := l.err.String(); code != 1 || !strings.Contains(got, "web-2 keeps crashing: exit status 7; its last output:\n") ||
			!strings.Contains(got, "no database") {
			t.Errorf("%s: exit code %d, %q", args, code, got)
		}
	}
	client := control.NewClient(s.control)
	defer client.Close()
	if err := client.Scale(t.Context(), "web", 3); failure.CodeOf(err) != failure.FailedPrecondition {
		t.Errorf("scale = %v, want FAILED_PRECONDITION", err)
	}
}

// Also what is not being stopped yet, because what needs it is.
func TestASecondCtrlCKillsEveryWave(t *testing.T) {
	t.Parallel()
	deaf := "run: " + yaml("sh -c 'trap \"\" TERM; while :; do sleep 1; done'")
	s := up(t, "system: deaf\nregistry: etcd://127.0.0.1:1\nservices:\n  web: {"+deaf+", needs: [store]}\n  store: {"+deaf+"}\n")
	before := s.ps(t)
	s.interrupts <- os.Interrupt
	s.await(t, "stopping deaf")
	s.interrupts <- os.Interrupt
	s.end(t) // or store would have come back, been told to stop, and not listened
	if out := s.out.String(); strings.Contains(out, "starting it again") {
		t.Errorf("something was started again:\n%s", out)
	}
	for _, i := range before {
		if alive(i.PID) {
			t.Errorf("%s lives on", i.ID)
		}
	}
}

func TestCtrlCWhileServicesStart(t *testing.T) {
	t.Parallel()
	s := start(t, "system: slow\nregistry: etcd://127.0.0.1:1\nservices:\n  web: {run: sleep 60, needs: [never]}\n  never: {run: "+
		yaml(service()+" sick")+"}\n")
	client := control.NewClient(s.control)
	defer client.Close()
	pid := 0
	for pid == 0 {
		if instances, err := client.Instances(t.Context()); err == nil && len(instances) == 1 {
			pid = instances[0].PID
		}
	}
	if code := (&line{env: s.env}).run("scale", "web", "2"); code != 1 {
		t.Errorf("scale of a system that starts = %d, want 1", code)
	}
	s.interrupts <- os.Interrupt
	if code := s.end(t); code != 1 || !strings.Contains(s.err.String(), "stopped before it was ready") {
		t.Errorf("up ended with %d: %s", code, s.err.String())
	}
	if alive(pid) {
		t.Error("the service lives on")
	}
}

func TestUpEndsWhenAServiceKeepsDying(t *testing.T) {
	t.Parallel()
	s := start(t, "system: sick\nregistry: etcd://127.0.0.1:1\nservices:\n  web: {run: "+yaml("sh -c 'echo no database; exit 3'")+"}\n")
	if code := s.end(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	_, after, said := strings.Cut(s.out.String(), "stopping sick: web-1 keeps crashing: exit status 3\n")
	if out := s.out.String(); !said || !strings.Contains(after, "web-1 stopped\n") {
		t.Errorf("the stop does not say why before it stops anything:\n%s", out)
	}
	got := s.err.String()
	if !strings.Contains(got, "holdfast up: web-1 keeps crashing: exit status 3") || !strings.Contains(got, "no database") {
		t.Errorf("error:\n%s", got)
	}
}

func TestUpEndsWhenTheBuildFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":      "module example.com/broken\n\ngo 1.26\n",
		"web/main.go": "package main\n\nfunc main() { undefinedName() }\n",
		"system.yaml": "system: broken\nregistry: etcd://127.0.0.1:1\nservices:\n  web: {run: ./web}\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := startIn(t, dir)
	if code := s.end(t); code != 1 || !strings.HasPrefix(s.err.String(), "holdfast up: the build failed\n") ||
		!strings.Contains(s.err.String(), "main.go:3:15: undefined: undefinedName") {
		t.Errorf("exit code %d: %s", code, s.err.String())
	}
	s = startIn(t, dir, "--no-build")
	if code := s.end(t); code != 1 || !strings.Contains(s.err.String(), "./web is not built") {
		t.Errorf("--no-build: exit code %d: %s", code, s.err.String())
	}
}

func TestTwoUpsOnTheSameData(t *testing.T) {
	t.Parallel()
	s := up(t, withoutMembers())
	other := &line{env: map[string]string{"HOLDFAST_CONTROL": freeAddr(t)}}
	code := other.run("up", "--data", filepath.Join(s.dir, "data"), s.dir)
	if got := other.err.String(); code != 1 || strings.Count(got, "\n") != 1 ||
		!strings.Contains(got, fmt.Sprintf("in use by process %d", os.Getpid())) || !strings.Contains(got, "--data") {
		t.Errorf("exit code %d: %s", code, got)
	}
}

// The real thing, small: one control member, and an edge that answers from the start.
func TestUpWithAControlMember(t *testing.T) {
	t.Parallel()
	edge := freeAddr(t)
	s := start(t, "system: real\ncontrol: {members: 1}\nservices:\n  web: {run: "+yaml(service()+" announced")+", replicas: 2, env: {HOLDFAST_DRAIN_DELAY: 50ms}, http: \""+edge+"\"}\n")
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	get := func() (int, string) {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+edge+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	s.await(t, "is ready in")
	if code, body := get(); code != http.StatusOK || !strings.HasPrefix(body, "web-") {
		t.Errorf("the edge answers %d %s", code, body)
	}
	before := s.ps(t)
	if out := s.do(t, "queue", "list"); !strings.HasPrefix(out, "TOPIC") {
		t.Errorf("queue list printed:\n%s", out)
	}
	if out := s.do(t, "logs", "web"); !strings.Contains(out, "messages go to nats://127.0.0.1:") || !strings.Contains(out, "?token-file=") {
		t.Errorf("logs printed:\n%s", out)
	}
	s.do(t, "kill", "control-1")
	s.await(t, "control-1 ready again")
	s.do(t, "restart", "web")
	if code, body := get(); code != http.StatusOK {
		t.Errorf("after a kill of the control member, and a restart, the edge answers %d %s", code, body)
	}
	s.interrupts <- os.Interrupt
	if code := s.end(t); code != 0 {
		t.Errorf("up ended with %d: %s", code, s.err.String())
	}
	for _, i := range before {
		if alive(i.PID) {
			t.Errorf("%s (pid %d) is left", i.ID, i.PID)
		}
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }
