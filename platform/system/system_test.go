package system_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/platform/system"
	"github.com/holdfast-go/holdfast/policy"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// TestGolden parses every file of testdata; what comes out, problems or the system, is in the .txt beside it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", outcome(name, b))
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update rewrites it); got:\n%s", file, got)
	}
}

func outcome(name string, b []byte) string {
	sys, err := system.Parse(name, b)
	if err != nil {
		return err.Error() + "\n"
	}
	var out strings.Builder
	fmt.Fprintf(&out, "system %s, members %d, registry %q\n", sys.Name, sys.Control.Members, sys.Registry)
	if sys.Queue != "" {
		fmt.Fprintf(&out, "queue %q\n", sys.Queue)
	}
	for _, svc := range sys.Services {
		fmt.Fprintf(&out, "%s x %d: %q http %q env %v needs %v\n", svc.Name, svc.Replicas, svc.Words(), svc.HTTP, svc.Env, svc.Needs)
		if svc.Serves != nil {
			fmt.Fprintf(&out, "%s serves %v\n", svc.Name, svc.Protocols())
		}
		if svc.State != "" {
			fmt.Fprintf(&out, "state of %s: %s\n", svc.Name, svc.State)
		}
		if svc.Autoscale != nil {
			fmt.Fprintf(&out, "autoscale of %s: %+v\n", svc.Name, *svc.Autoscale)
		}
	}
	fmt.Fprintf(&out, "order %v\n", sys.Order())
	for _, name := range slices.Sorted(maps.Keys(sys.Policies)) {
		fmt.Fprintf(&out, "policy of %s:\n%s", name, policy.Marshal(sys.Policies[name]))
	}
	return out.String()
}

func TestParseTooLarge(t *testing.T) {
	_, err := system.Parse("big.yaml", make([]byte, system.MaxBytes+1))
	if err == nil || err.Error() != "big.yaml: larger than 1024 KiB" {
		t.Errorf("got %v", err)
	}
}

func TestParseBoundsProblems(t *testing.T) {
	var b strings.Builder
	b.WriteString("system: shop\nservices: {a: {run: ./a}}\n")
	for i := range 5000 {
		fmt.Fprintf(&b, "x%d: 1\n", i)
	}
	_, err := system.Parse("s.yaml", []byte(b.String()))
	var problems system.Problems
	if !errors.As(err, &problems) || len(problems) != 51 || !strings.HasSuffix(err.Error(), "and 4950 more problems") {
		t.Errorf("got %d problems, the last %v", len(problems), problems[len(problems)-1])
	}
}

func TestParseBoundsServices(t *testing.T) {
	var b strings.Builder
	b.WriteString("system: shop\nservices:\n")
	for i := range system.MaxServices + 1 {
		fmt.Fprintf(&b, "  x%d: {run: ./x, needs: [x%d]}\n", i, i+1)
	}
	_, err := system.Parse("s.yaml", []byte(b.String()))
	if err == nil || err.Error() != "s.yaml:3:3: services: 201 are more than 200" {
		t.Errorf("got %v", err)
	}
}

// TestOrder: in any graph without cycles, each service comes exactly once, after all that it needs, and no earlier
// wave would do.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "services")
		rank := rapid.Permutation(seq(n)).Draw(t, "rank")
		var b strings.Builder
		b.WriteString("system: shop\nservices:\n")
		needs := make(map[string][]string)
		for i := range n {
			name := fmt.Sprintf("s%d", i)
			for j := range n {
				if rank[j] < rank[i] && rapid.Bool().Draw(t, "edge") {
					needs[name] = append(needs[name], fmt.Sprintf("s%d", j))
				}
			}
			fmt.Fprintf(&b, "  %s: {run: ./x, needs: [%s]}\n", name, strings.Join(needs[name], ", "))
		}
		sys, err := system.Parse("s.yaml", []byte(b.String()))
		if err != nil {
			t.Fatal(err)
		}
		wave := make(map[string]int)
		for w, names := range sys.Order() {
			for _, name := range names {
				if _, twice := wave[name]; twice {
					t.Fatalf("%s twice in %v", name, sys.Order())
				}
				wave[name] = w
			}
		}
		for i := range n {
			name, earliest := fmt.Sprintf("s%d", i), 0
			for _, need := range needs[name] {
				earliest = max(earliest, wave[need]+1)
			}
			if got, ok := wave[name]; !ok || got != earliest {
				t.Fatalf("%s in wave %d, want %d: %v", name, got, earliest, sys.Order())
			}
		}
	})
}

func seq(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := system.Load(dir); err == nil || !strings.Contains(err.Error(), "no system.yaml in ") {
		t.Errorf("empty directory: %v", err)
	}
	write("gateway/main.go", "package main", 0o644)
	write("docs/readme.txt", "", 0o644)
	write("bin/tool", "", 0o755)
	write("bin/data", "", 0o644)
	write("system.yaml", `system: shop
services:
  a: {run: ./gateway}
  b: {run: gateway}
  c: {run: ./gatway}
  d: {run: ./docs}
  e: {run: bin/tool --flag}
  f: {run: ./bin/data}
  g: {run: ./gateway --flag}
  h: {run: no-such-program-anywhere}
  i: {run: gatewy}
  j: {run: sh -c true}
  k: {run: only-inside, env: {PATH: /elsewhere}}
`, 0o644)
	_, err := system.Load(dir)
	if err == nil {
		t.Fatal("no error")
	}
	golden(t, "testdata/load.golden", strings.ReplaceAll(err.Error(), dir, "DIR")+"\n")

	write("ok/system.yaml", "system: shop\nservices: {a: {run: ../gateway}}\n", 0o644)
	for _, path := range []string{filepath.Join(dir, "ok"), filepath.Join(dir, "ok", "system.yaml")} {
		sys, err := system.Load(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		} else if sys.Dir != filepath.Join(dir, "ok") {
			t.Errorf("%s: Dir is %s", path, sys.Dir)
		}
	}
	write("big/system.yaml", strings.Repeat("#", system.MaxBytes+100), 0o644)
	if _, err := system.Load(filepath.Join(dir, "big")); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("big file: %v", err)
	}
}

// FuzzParse: whatever the bytes, there is a system that keeps the rules, or problems that lie inside the file.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("system: shop\nservices: {a: {run: './a\\'}}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sys, err := system.Parse("f.yaml", b)
		if err != nil {
			var problems system.Problems
			if !errors.As(err, &problems) || len(problems) == 0 || sys != nil {
				t.Fatalf("%v, %v", sys, err)
			}
			lines := strings.Count(string(b), "\n") + strings.Count(string(b), "\r") + strings.Count(string(b), "\u0085") +
				strings.Count(string(b), "\u2028") + strings.Count(string(b), "\u2029") + 2
			for _, p := range problems {
				if p.Line > lines || p.Line < 0 || strings.ContainsAny(p.Message, "\n\x00") {
					t.Errorf("%q", p)
				}
			}
			return
		}
		placed := 0
		for _, wave := range sys.Order() {
			placed += len(wave)
		}
		if placed != len(sys.Services) || placed == 0 || sys.Name == "" || (sys.Registry == "") == (sys.Control.Members == 0) {
			t.Errorf("%+v", sys)
		}
		for _, svc := range sys.Services {
			if len(svc.Words()) == 0 || svc.Replicas < 0 || svc.Replicas > system.MaxReplicas || slices.Contains(svc.Needs, svc.Name) {
				t.Errorf("%+v", svc)
			}
			if a := svc.Autoscale; a != nil && (a.Validate() != nil || svc.State != "" || svc.Replicas < a.Min || svc.Replicas > a.Max) {
				t.Errorf("%+v, %+v, %v", svc, a, a.Validate())
			}
		}
	})
}

func ExampleParse() {
	_, err := system.Parse("system.yaml", []byte(`
system: shop
services:
  gateway: {run: ./gateway, replica: 2, needs: [order]}
  orders:  {run: ./orders, replicas: many}
`))
	fmt.Println(err)
	// Output:
	// system.yaml:4:29: unknown field replica; did you mean replicas?
	// system.yaml:4:49: needs: no service order; did you mean orders?
	// system.yaml:5:38: replicas: want a whole number, got text "many"
}

// TestLoadPolicies: those beside the system file, with all that is wrong in them; one that is there twice is told of.
func TestLoadPolicies(t *testing.T) {
	write := func(files map[string]string) string {
		dir := t.TempDir()
		for name, content := range files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	file := "system: shop\npolicies: policies\nservices:\n  orders:\n    run: sleep 1\n    policy: {calls: {timeout: 1s}}\n"
	dir := write(map[string]string{"system.yaml": file, "policies/carts.yaml": "calls: {timeout: 2s}\n"})
	sys, err := system.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(sys.Policies) != 2 || sys.Policies["orders"].Calls.Policy.Timeout != time.Second || sys.Policies["carts"].Calls.Policy.Timeout != 2*time.Second {
		t.Errorf("policies are %+v", sys.Policies)
	}
	for want, files := range map[string]map[string]string{
		`system.yaml:2:11: policies: there is no "policies"`: {"system.yaml": file},
		`carts.yaml:1:9: unknown field timout`:               {"system.yaml": file, "policies/carts.yaml": "calls: {timout: 1s}\n"},
		`system.yaml:4:3: policy: orders has one in policies, too; remove one of the two`: {
			"system.yaml": file, "policies/orders.yaml": "{}",
		},
	} {
		if _, err := system.Load(write(files)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
