//go:build unix

package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var revision = regexp.MustCompile(`\d{5,}`)

// store is a system whose live settings are in a directory.
func store(t *testing.T) (*line, string) {
	t.Helper()
	f, l := serve(t)
	dir := filepath.Join(t.TempDir(), "settings")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f.config = "file:" + dir
	return l, filepath.Join(dir, "policies")
}

func (l *line) want(t *testing.T, code int, out, err string, args ...string) {
	t.Helper()
	got := l.run(args...)
	gotOut, gotErr := revision.ReplaceAllString(l.out.String(), "REVISION"), l.err.String()
	if got != code || gotOut != out || gotErr != err {
		t.Errorf("%v: exit code %d, want %d\nstandard output:\n%swant:\n%sstandard error:\n%swant:\n%s", args, got, code, gotOut, out, gotErr, err)
	}
}

func TestPolicyHelpHasExamples(t *testing.T) {
	l := &line{}
	for _, command := range []string{"ls", "get", "set", "rm", "check"} {
		if code := l.run("policy", command, "--help"); code != 0 || !strings.Contains(l.out.String(), "Examples:\n  ") {
			t.Errorf("%s: exit code %d: %s%s", command, code, l.out.String(), l.err.String())
		}
		golden(t, "help-policy-"+command+".golden", l.out.String())
	}
}

func TestPolicySetGetLsRm(t *testing.T) {
	l, dir := store(t)
	l.want(t, 0, "SERVICE  REVISION  STATE\n", "", "policy", "ls")
	file := filepath.Join(t.TempDir(), "orders.yaml")
	document := "# Slow on Fridays.\ncalls: {timeout: 2s}\n"
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	l.want(t, 0, "the policy of orders is set, revision REVISION\n", "", "policy", "set", "orders", file)
	l.want(t, 0, document, "", "policy", "get", "orders")
	l.in = "serves: {admission: off}\n"
	l.want(t, 0, "the policy of ordres is set, revision REVISION\n",
		"note: the running system has no service \"ordres\"; did you mean orders?\n", "policy", "set", "ordres", "-")
	if code := l.run("policy", "get", "--effective", "ordres"); code != 0 || !strings.Contains(l.out.String(), "  # attempts: 3\n") ||
		!strings.Contains(l.out.String(), "\n  admission: off\n") {
		t.Errorf("exit code %d: %s", code, l.out.String())
	}
	if err := os.WriteFile(filepath.Join(dir, "carts"), []byte("calls: {timeout: 2, balanc: {}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l.run("policy", "ls"); revision.ReplaceAllString(l.out.String(), "REVISION") == "" || !strings.Contains(l.out.String(),
		"refused: carts:1:18: timeout: want a duration such as 250ms or 5s, got the number 2; write the unit, such as 2s or 2ms (and 1 more problem)\n") {
		t.Errorf("ls:\n%s", l.out.String())
	}
	var rows []map[string]any
	if l.run("policy", "ls", "--json"); json.Unmarshal([]byte(l.out.String()), &rows) != nil || len(rows) != 3 || rows[0]["service"] != "carts" ||
		len(rows[0]["problems"].([]any)) != 2 || rows[1]["problems"] != nil {
		t.Errorf("ls --json: %s", l.out.String())
	}
	l.run("__complete", "policy", "rm", "or")
	if got := strings.Join(strings.Fields(l.out.String()), " "); got != "orders ordres :4" {
		t.Errorf("completion: %s", got)
	}
	l.run("__complete", "policy", "set", "")
	if got := strings.Join(strings.Fields(l.out.String()), " "); got != "catalog orders gateway :4" {
		t.Errorf("completion: %s", got)
	}
	l.want(t, 0, "the policy of ordres is removed\n", "", "policy", "rm", "ordres")
	l.want(t, 1, "", "holdfast policy rm: ordres has no live policy\n", "policy", "rm", "ordres")
	l.want(t, 1, "", "holdfast policy get: ordres has no live policy\n", "policy", "get", "ordres")
}

func TestAWrongPolicyIsNotSet(t *testing.T) {
	l, dir := store(t)
	l.in = "calls:\n  timeout: 2\n  balanc: {}\n"
	problems := "standard input:2:12: timeout: want a duration such as 250ms or 5s, got the number 2; write the unit, such as 2s or 2ms\n" +
		"standard input:3:3: unknown field balanc; did you mean balance?\n"
	l.want(t, 2, "", "holdfast policy set: the policy has 2 problems\n"+problems, "policy", "set", "orders", "-")
	l.want(t, 2, "", "holdfast policy check: the policy has 2 problems\n"+problems, "policy", "check", "-")
	l.in = "calls: {attempts: 99}\n"
	l.want(t, 2, "", "holdfast policy set: standard input:1:19: attempts: 99 is not between 1 and 10\n", "policy", "set", "orders", "-")
	if _, err := os.Stat(filepath.Join(dir, "orders")); err == nil {
		t.Error("it was set")
	}
}

func TestPolicyCheck(t *testing.T) {
	l := &line{env: map[string]string{"HOLDFAST_CONTROL": "127.0.0.1:1"}} // which it does without
	dir := t.TempDir()
	for name, content := range map[string]string{"orders.yaml": "calls: {attempts: 2}\n", "carts.yaml": "{}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.want(t, 0, "2 valid\n", "", "policy", "check", dir)
	l.want(t, 0, "1 valid\n", "", "policy", "check", filepath.Join(dir, "orders.yaml"))
	l.in = "orders: {calls: {attempts: 2}}\ncarts: {}\n"
	l.want(t, 0, "2 valid\n", "", "policy", "check", "-")
	l.in = "orders: {calls: {balanc: {}}}\n"
	l.want(t, 2, "", "holdfast policy check: standard input:1:18: unknown field balanc; did you mean balance?\n", "policy", "check", "-")
	l.in = "{}"
	if code := l.run("policy", "check", "--effective", "-"); code != 0 || !strings.Contains(l.out.String(), "# timeout: 5s\n") {
		t.Errorf("exit code %d: %s%s", code, l.out.String(), l.err.String())
	}
}

func TestWrongUseOfPolicy(t *testing.T) {
	l, _ := store(t)
	for args, want := range map[string]string{
		"policy lst":                           `holdfast policy: no command "lst"; did you mean ls? commands: check, get, ls, rm, set`,
		"policy set orders":                    "holdfast policy set: FILE is missing; usage: holdfast policy set SERVICE FILE",
		"policy set or/ders x":                 `holdfast policy set: "or/ders" is no name of a service`,
		"policy set orders nowhere":            "holdfast policy set: there is no nowhere",
		"policy get --config etcd://x orders":  `holdfast policy get: live settings: "etcd://x" has a member "x" that is not HOST:PORT`,
		"policy ls --config etcd://10.0.0.1:1": `holdfast policy ls: etcd settings endpoint "10.0.0.1:1": plaintext beyond loopback needs Insecure`,
		"policy ls --config none":              "holdfast policy ls: --config none: there are no live settings",
		"policy check nowhere":                 "holdfast policy check: there is no nowhere",
	} {
		l.want(t, 2, "", want+"\n", strings.Fields(args)...)
	}
	none := &line{env: map[string]string{"HOLDFAST_CONTROL": "127.0.0.1:1"}}
	none.want(t, 1, "", "holdfast policy ls: no system is running at 127.0.0.1:1; start one with: holdfast up DIR\n", "policy", "ls")
	_, without := serve(t)
	without.want(t, 1, "", "holdfast policy ls: the system shop has no live settings\n", "policy", "ls")
}

func TestOnlyATrueVariableAllowsPlaintext(t *testing.T) {
	for value, allowed := range map[string]bool{"": false, "0": false, "f": false, "FALSE": false, "False": false, "no": false, "1": true, "true": true, "T": true} {
		l := &line{env: map[string]string{"HOLDFAST_INSECURE": value, "HOLDFAST_CONFIG": "etcd://10.255.255.1:1"}}
		l.run("policy", "ls", "--help")
		if got := strings.Contains(l.out.String(), "beyond loopback (default true)"); got != allowed {
			t.Errorf("HOLDFAST_INSECURE=%s allows it: %v\n%s", value, got, l.out.String())
		}
	}
}
