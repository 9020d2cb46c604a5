package policy_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/policy"
)

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoad(t *testing.T) {
	dir := write(t, map[string]string{
		"orders.yaml": "calls: {timeout: 1s}\n", "carts.json": `{"calls": {"timeout": "2s"}}`, "users.yml": "{}",
		"README.md": "not a policy", ".orders.yaml.swp": "neither", "all": "orders: {calls: {timeout: 3s}}\ncarts: {}\n",
	})
	got, err := policy.Load(dir)
	if err != nil || len(got) != 3 || got["orders"].Calls.Policy.Timeout != time.Second || got["carts"].Calls.Policy.Timeout != 2*time.Second {
		t.Errorf("directory: %+v, %v", got, err)
	}
	got, err = policy.Load(filepath.Join(dir, "all"))
	if err != nil || len(got) != 2 || got["orders"].Calls.Policy.Timeout != 3*time.Second {
		t.Errorf("file: %+v, %v", got, err)
	}
	if _, err := policy.Load(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}

func TestLoadReportsTheProblemsOfAllFiles(t *testing.T) {
	dir := write(t, map[string]string{
		"a.yaml": "calls: {timeout: 1}\nserves: 3\n", "b.yaml": "call: {}\n", "c.yaml": "{}", "c.json": "{}", "d e.yaml": "{}",
	})
	_, err := policy.Load(dir)
	var problems policy.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("error %v", err)
	}
	want := []string{
		"a.yaml:1:18: timeout: want a duration", "a.yaml:2:9: serves: want a mapping", "b.yaml:1:1: unknown field call",
		"c.yaml: the policy of c is in c.json already", `d e.yaml: "d e" is no name of a service`,
	}
	if len(problems) != len(want) {
		t.Fatalf("%d problems, want %d:\n%v", len(problems), len(want), err)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("no %q in\n%v", w, err)
		}
	}
}

func TestParseAllRefusesTheDocumentOfOneService(t *testing.T) {
	_, err := policy.ParseAll("policies.yaml", []byte("calls: {timeout: 1s}\n"))
	if err == nil || !strings.Contains(err.Error(), "unknown field timeout") {
		t.Errorf("error %v", err)
	}
}
