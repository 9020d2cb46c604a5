//go:build unix

package cli_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cmd/holdfast/internal/cli"
	"github.com/holdfast-go/holdfast/platform/control"
)

var (
	clock    = regexp.MustCompile(`\d\d:\d\d:\d\d(\.\d\d\d)?`)
	duration = regexp.MustCompile(`\d+\.\d s`)
	age      = regexp.MustCompile(`\b\d+s\b`)
)

// timeless replaces what is different in every run.
func timeless(s string) string {
	return age.ReplaceAllString(duration.ReplaceAllString(clock.ReplaceAllString(s, "12:00:00"), "0.0 s"), "0s")
}

func TestHelpHasExamples(t *testing.T) {
	l := &line{}
	for _, command := range []string{
		"", "up", "ps", "top", "trace", "explain", "console", "logs", "events", "kill", "freeze", "thaw", "restart", "scale", "down", "version", "completion", "member", "guard", "policy", "queue", "export", "drill", "drill-guard",
	} {
		name := "help-" + command + ".golden"
		args := []string{command, "--help"}
		if command == "" {
			name, args = "help.golden", nil
		}
		if code := l.run(args...); code != 0 {
			t.Errorf("%v: exit code %d: %s", args, code, l.err.String())
		}
		if !strings.Contains(l.out.String(), "Examples:\n  holdfast ") && command != "completion" {
			t.Errorf("%v has no examples", args)
		}
		golden(t, name, l.out.String())
	}
	l.run("ps", "--help")
	want := l.out.String()
	if l.run("help", "ps"); l.out.String() != want {
		t.Error("help ps is not ps --help")
	}
}

func TestCommands(t *testing.T) {
	for _, tc := range []struct{ name, args, calls string }{
		{"ps", "ps", ""},
		{"ps-orders", "ps orders", ""},
		{"ps-none", "ps gateway", ""},
		{"kill", "kill orders-1", "kill orders-1"},
		{"kill-two", "kill orders-1 catalog", "kill orders-1; kill catalog-1"},
		{"kill-all", "kill --all orders", "kill orders-1; kill orders-2"},
		{"freeze", "freeze control-1", "freeze control-1"},
		{"freeze-control", "freeze control --all", "freeze control-1"},
		{"thaw", "thaw orders", "thaw orders-1"},
		{"thaw-none", "thaw catalog", ""},
		{"restart", "restart orders", "restart orders orders-1,orders-2"},
		{"restart-one", "restart orders-2", "restart orders orders-2"},
		{"scale", "scale orders 3", "scale orders 3"},
		{"scale-list", "scale", ""},
		{"scale-auto", "scale orders auto", "autoscale orders"},
		{"down", "down", "down"},
		{"down-detach", "down --detach", "down"},
		{"logs", "logs", "logs "},
		{"logs-orders", "logs -t -n 1 orders", "logs orders"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, l := serve(t)
			if code := l.run(strings.Fields(tc.args)...); code != 0 || l.err.String() != "" {
				t.Errorf("exit code %d, %s", code, l.err.String())
			}
			if got := f.called(); got != tc.calls {
				t.Errorf("calls = %q, want %q", got, tc.calls)
			}
			golden(t, tc.name+".golden", timeless(l.out.String()))
		})
	}
}

func TestPSShowsWhatIsBrokenOnPurpose(t *testing.T) {
	f, l := serve(t)
	now := time.Now()
	f.faults = []control.Fault{
		{
			ID: "a-1", FaultRequest: control.FaultRequest{Kind: control.FaultFreeze, Note: "drill leaders-die"}, What: "orders-1 is frozen",
			Begun: now.Add(-3 * time.Second), Until: now.Add(4 * time.Second),
		},
		{
			ID: "a-2", What: "nothing passes between orders-2 and everybody else", Trouble: "orders-2 is not running",
			Begun: now.Add(-time.Minute), Until: now.Add(20 * time.Second),
		},
	}
	if code := l.run("ps"); code != 0 {
		t.Fatal(l.err.String())
	}
	golden(t, "ps-faults.golden", timeless(l.out.String()))
}

func TestEvents(t *testing.T) {
	for name, args := range map[string][]string{
		"events": {"events", "-f"}, "events-orders": {"events", "-f", "orders"}, "events-json": {"events", "-f", "--json", "orders"},
		"events-kept": {"events"}, "events-new": {"events", "-f", "-n", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			f, l := serve(t)
			f.kept = []control.Event{{Time: f.now, Service: "orders", Instance: "orders-1", State: control.EventEjected, Message: "gateway-1 ejects orders-1: 5 of 5 failed"}}
			f.event("orders", "orders-1", "frozen", "orders-1 frozen")
			f.event("catalog", "catalog-1", "ready", "catalog-1 ready (pid 7)")
			f.events <- control.Event{
				Time: f.now, Service: "orders", State: control.EventFaultBegun, Fault: "a-1", Message: "broken on purpose: orders-1 is frozen",
			}
			f.event("", "", "stopping", "stopping shop")
			close(f.events)
			if code := l.run(args...); code != 0 {
				t.Fatal(l.err.String())
			}
			golden(t, name+".golden", timeless(strings.ReplaceAll(l.out.String(), f.now.Format(time.RFC3339Nano), "TIME")))
		})
	}
	_, l := serve(t)
	if code := l.run("events", "order"); code == 0 || !strings.Contains(l.err.String(), "did you mean orders") {
		t.Errorf("exit code %d, %s", code, l.err.String())
	}
}

func TestPSAsJSON(t *testing.T) {
	_, l := serve(t)
	if code := l.run("ps", "--json"); code != 0 {
		t.Fatal(l.err.String())
	}
	var rows []map[string]any
	if err := json.Unmarshal([]byte(l.out.String()), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 4 {
		t.Fatalf("%d rows, want 4", len(rows))
	}
	for _, row := range rows {
		for _, key := range []string{"service", "id", "pid", "addr", "state", "restarts", "since"} {
			if _, ok := row[key]; !ok {
				t.Errorf("%v has no %s", row["id"], key)
			}
		}
	}
	if code := l.run("ps", "--json", "gateway"); code != 0 || l.out.String() != "[]\n" {
		t.Errorf("no instances = %q, want an empty array", l.out.String())
	}
}

func TestFollowedLogsEndWithCtrlC(t *testing.T) {
	_, l := serve(t)
	l.interrupts = make(chan os.Signal, 1)
	code := make(chan int)
	go func() { code <- l.run("logs", "-f") }()
	for !strings.Contains(l.out.String(), "o-3 placed") {
		select {
		case c := <-code:
			t.Fatalf("ended with %d: %s", c, l.err.String())
		default:
		}
	}
	l.interrupts <- os.Interrupt
	if c := <-code; c != 0 || l.err.String() != "" {
		t.Errorf("exit code %d, %s", c, l.err.String())
	}
}

func TestWrongUseIsOneLineAndExitCode2(t *testing.T) {
	f, l := serve(t)
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.yaml")
	if err := os.WriteFile(broken, []byte("system: shop\nservices: 3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ args, want string }{
		{"scale ordres 3", `holdfast scale: no service "ordres"; did you mean orders? services: catalog, orders, gateway, control`},
		{"scale orders", "holdfast scale: N is missing; usage: holdfast scale [SERVICE N]"},
		{"scale orders three", `holdfast scale: N must be a number from 0 to 64, or auto, not "three"`},
		{"scale orders -1", `holdfast scale: N must be a number from 0 to 64, or auto, not "-1"`},
		{"scale -x orders", `holdfast scale: unknown shorthand flag: 'x' in -x; see holdfast scale --help`},
		{"scale orders 1000", `holdfast scale: N must be a number from 0 to 64, or auto, not "1000"`},
		{"scale orders 1 2", `holdfast scale: unexpected argument "2"; usage: holdfast scale [SERVICE N]`},
		{"scale control 5", "holdfast scale: the number of control members is set in the system file and does not change while it runs"},
		{"kill", "holdfast kill: TARGET is missing; usage: holdfast kill [--all] TARGET..."},
		{"kill orders", "holdfast kill: orders has 2 instances; name one of orders-1, orders-2, or all of them: holdfast kill orders --all"},
		{"freeze orders", "holdfast freeze: orders has 2 instances; name one of orders-1, orders-2, or all of them: holdfast freeze orders --all"},
		{"kill frontend", `holdfast kill: no service "frontend"; services: catalog, orders, gateway, control`},
		{"kill orders-7", `holdfast kill: no instance "orders-7"; orders has orders-1, orders-2`},
		{"kill orders-1 orders-9", `holdfast kill: no instance "orders-9"; orders has orders-1, orders-2`},
		{"freeze catalog orders", "holdfast freeze: orders has 2 instances; name one of orders-1, orders-2, or all of them: holdfast freeze orders --all"},
		{"restart catalog frontend", `holdfast restart: no service "frontend"; services: catalog, orders, gateway, control`},
		{"restart ordres-1", `holdfast restart: no service "ordres-1"; services: catalog, orders, gateway, control`},
		{"ps oders", `holdfast ps: no service "oders"; did you mean orders? services: catalog, orders, gateway, control`},
		{"logs oders", `holdfast logs: no service "oders"; did you mean orders? services: catalog, orders, gateway, control`},
		{"events oders", `holdfast events: no service "oders"; did you mean orders? services: catalog, orders, gateway, control`},
		{"events -n -1", "holdfast events: --lines must be from 0 to 1000, not -1"},
		{"top oders", `holdfast top: no service "oders"; did you mean orders? services: catalog, orders, gateway, control`},
		{"top --sort speed", `holdfast top: --sort takes one of name, rate, errors, p99, flight, cpu, memory, state, not "speed"`},
		{"trace -n 0", "holdfast trace: -n takes a number from 1 to 1000, not 0"},
		{"trace --min -1s", "holdfast trace: --min takes a duration such as 250ms, not -1s"},
		{"explain", "holdfast explain: ID is missing; usage: holdfast explain [--service SERVICE] [--lang en|zh] [--json] ID | last"},
		{"explain --lang fr last", `holdfast explain: --lang takes en or zh, not "fr"`},
		{"explain --service orders 4bf92f", "holdfast explain: --service goes with last, not with an ID"},
		{"console now", `holdfast console: unexpected argument "now"; usage: holdfast console [--view] [--json]`},
		{"logs -n -1", "holdfast logs: --lines must be from 0 to 10000, not -1"},
		{"logs -n many", `holdfast logs: invalid argument "many" for "-n, --lines" flag: not a number, or too large a one; see holdfast logs --help`},
		{"ps --jsno", "holdfast ps: unknown flag: --jsno; see holdfast ps --help"},
		{"--verbose", "holdfast: unknown flag: --verbose; see holdfast --help"},
		{"pss", `holdfast: no command "pss"; did you mean ps? commands: completion, console, down, drill, events, explain, export, freeze, kill, logs, policy, ps, queue, restart, scale, thaw, token, top, trace, up, version`},
		{"launch", `holdfast: no command "launch"; commands: completion, console, down, drill, events, explain, export, freeze, kill, logs, policy, ps, queue, restart, scale, thaw, token, top, trace, up, version`},
		{"help launch", `holdfast help: no command "launch"; commands: completion, console, down, drill, events, explain, export, freeze, kill, logs, policy, ps, queue, restart, scale, thaw, token, top, trace, up, version`},
		{"completion tcsh", `holdfast completion: no completion for "tcsh"; shells: bash, zsh, fish, powershell`},
		{"version 2", `holdfast version: unexpected argument "2"; usage: holdfast version`},
		{"up " + dir + "/nowhere", "holdfast up: there is no " + dir + "/nowhere"},
		{"up " + dir, "holdfast up: load system: no system.yaml in " + dir},
		{"up " + broken, "holdfast up: " + broken + ":2:"},
		{"ps --control nonsense", `holdfast ps: --control takes HOST:PORT, or https://HOST:PORT beyond this machine, not "nonsense"`},
		{"up --control 127.0.0.1:99999 " + dir, `holdfast up: --control takes HOST:PORT, or https://HOST:PORT beyond this machine, not "127.0.0.1:99999"`},
		{"member --cluster x", `holdfast member: --cluster: "x" is not NAME=ADDR`},
	} {
		t.Run(tc.args, func(t *testing.T) {
			code := l.run(strings.Fields(tc.args)...)
			got, one := strings.CutSuffix(l.err.String(), "\n")
			if code != 2 || !one || strings.Contains(got, "\n") || got != tc.want && !strings.HasPrefix(tc.want, "holdfast up: "+broken) || !strings.HasPrefix(got, strings.TrimSuffix(tc.want, "$")) {
				t.Errorf("exit code %d, want 2\n got: %s\nwant: %s", code, l.err.String(), tc.want)
			}
			if l.out.String() != "" {
				t.Errorf("standard output: %s", l.out.String())
			}
		})
	}
	if got := f.called(); got != "" {
		t.Errorf("wrong use has done something: %s", got)
	}
}

func TestNoSystemRuns(t *testing.T) {
	l := &line{env: map[string]string{"HOLDFAST_CONTROL": "127.0.0.1:1"}}
	for _, args := range []string{"ps", "logs", "logs -f orders", "kill orders-1", "freeze orders-1", "thaw orders", "restart orders", "scale orders 2", "down", "top", "trace", "explain last", "events -f", "console"} {
		code := l.run(strings.Fields(args)...)
		want := "holdfast " + strings.Fields(args)[0] + ": no system is running at 127.0.0.1:1; start one with: holdfast up DIR\n"
		if code != 1 || l.err.String() != want {
			t.Errorf("%s: exit code %d, want 1\n got: %swant: %s", args, code, l.err.String(), want)
		}
	}
}

func TestAnotherProgramListens(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	addr := web.Listener.Addr().String()
	l := &line{}
	if code := l.run("ps", "--control", addr); code != 1 || !strings.Contains(l.err.String(), "no Holdfast system") {
		t.Errorf("ps: exit code %d, %s", code, l.err.String())
	}
	if code := l.run("up", "--control", addr, "--data", t.TempDir(), smallSystem(t, "")); code != 1 ||
		!strings.HasPrefix(l.err.String(), "holdfast up: control address "+addr+" is taken by another program") ||
		!strings.Contains(l.err.String(), "--control") {
		t.Errorf("up: exit code %d, %s", code, l.err.String())
	}
}

func TestUpWhereASystemRuns(t *testing.T) {
	_, l := serve(t)
	code := l.run("up", "--data", t.TempDir(), smallSystem(t, ""))
	if code != 1 || !strings.Contains(l.err.String(), `the system "shop" runs at`) || !strings.Contains(l.err.String(), "pid 100") {
		t.Errorf("exit code %d, %s", code, l.err.String())
	}
}

func TestUpWhereAnEdgeAddressIsTaken(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	addr := other.Addr().String()
	l := &line{}
	code := l.run("up", "--control", "127.0.0.1:0", "--data", t.TempDir(), smallSystem(t, addr))
	want := "holdfast up: " + addr + ", where service web is to listen, is taken by another program"
	if code != 1 || !strings.HasPrefix(l.err.String(), want) || strings.Count(l.err.String(), "\n") != 1 {
		t.Errorf("exit code %d\n got: %s\nwant: %s...", code, l.err.String(), want)
	}
}

func TestCompletion(t *testing.T) {
	_, l := serve(t)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"scale", ""}, "catalog orders gateway control :4"},
		{[]string{"logs", "or"}, "orders orders-1 orders-2 :4"},
		{[]string{"kill", "orders-1", ""}, "catalog orders gateway control control-1 catalog-1 orders-2 :4"},
		{[]string{"thaw", ""}, "catalog orders gateway control orders-1 :4"},
		{[]string{"scale", "orders", ""}, ":4"},
		{[]string{"completion", "z"}, "zsh :4"},
	} {
		if code := l.run(append([]string{"__complete"}, tc.args...)...); code != 0 {
			t.Errorf("%v: exit code %d", tc.args, code)
		}
		var names []string
		for word := range strings.Lines(l.out.String()) {
			name, _, _ := strings.Cut(strings.TrimSpace(word), "\t")
			names = append(names, name)
		}
		if got := strings.Join(names, " "); got != tc.want {
			t.Errorf("%v completes to %q, want %q", tc.args, got, tc.want)
		}
	}
	for shell, want := range map[string]string{"bash": "__start_holdfast", "zsh": "#compdef holdfast", "fish": "complete -c holdfast", "powershell": "Register-ArgumentCompleter"} {
		if code := l.run("completion", shell); code != 0 || !strings.Contains(l.out.String(), want) {
			t.Errorf("completion %s: exit code %d, no %q", shell, code, want)
		}
	}
	nobody := &line{env: map[string]string{"HOLDFAST_CONTROL": "127.0.0.1:1"}}
	if code := nobody.run("__complete", "kill", ""); code != 0 || nobody.out.String() != ":4\n" {
		t.Errorf("completion without a system = %d, %q", code, nobody.out.String())
	}
}

func TestVersion(t *testing.T) {
	l := &line{}
	if l.run("--version"); l.out.String() == "" {
		t.Error("--version prints nothing")
	}
	flag := l.out.String()
	if l.run("version"); l.out.String() != flag {
		t.Errorf("--version = %q, version = %q", flag, l.out.String())
	}
	if code := l.run("version"); code != 0 || !regexp.MustCompile(`^holdfast \S+ go1\.\S+ \w+/\w+\n$`).MatchString(l.out.String()) {
		t.Errorf("version = %d, %q", code, l.out.String())
	}
}

func TestUpDoesNotListenBeyondThisMachineByItself(t *testing.T) {
	l := &line{}
	_, port, _ := net.SplitHostPort(freeAddr(t))
	code := l.run("up", "--control", "127.0.0.1:0", "--data", t.TempDir(), smallSystem(t, "0.0.0.0:"+port))
	want := "holdfast up: service web is to listen on 0.0.0.0:" + port + ", beyond this machine and without TLS; set HOLDFAST_INSECURE=true if that is meant\n"
	if code != 1 || l.err.String() != want {
		t.Errorf("exit code %d\n got: %s\nwant: %s", code, l.err.String(), want)
	}
}

// smallSystem writes a system file of one service, which listens at addr if that is not empty.
func smallSystem(t *testing.T, addr string) string {
	t.Helper()
	file := "system: small\ncontrol: {members: 1}\nservices:\n  web: {run: sleep 60"
	if addr != "" {
		file += ", http: \"" + addr + "\""
	}
	path := filepath.Join(t.TempDir(), "system.yaml")
	if err := os.WriteFile(path, []byte(file+"}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// fullDisk is an output that takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestOutputThatIsLostIsAnError(t *testing.T) {
	_, l := serve(t)
	for _, args := range []string{"ps", "ps --json", "logs", "logs -f", "version", "--help", "kill orders-1"} {
		l.err.Reset()
		code := cli.Main(cli.Process{
			Args: append([]string{"holdfast"}, strings.Fields(args)...), In: strings.NewReader(""), Out: fullDisk{}, Err: &l.err,
			Getenv: func(key string) string { return l.env[key] }, Environ: os.Environ,
		})
		if code != 1 || !strings.Contains(l.err.String(), "no space left on device") {
			t.Errorf("%s: exit code %d, %q", args, code, l.err.String())
		}
	}
}

// A system that is killed says no goodbye: its streams break off.
func TestFollowedLogsEndWithTheSystem(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", "holdfast-control")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer web.Close()
	l := &line{env: map[string]string{"HOLDFAST_CONTROL": web.Listener.Addr().String()}}
	if code := l.run("logs", "-f"); code != 1 || l.err.String() != "holdfast logs: the system is gone\n" {
		t.Errorf("exit code %d, %q", code, l.err.String())
	}
}
