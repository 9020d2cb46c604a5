package policy_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/policy"
)

const (
	page  = "../docs/policies.md"
	begin = "<!-- keys: go test ./policy -update -->\n"
	end   = "<!-- end of keys -->\n"
)

// TestThePageHasAllKeys: the table in docs/policies.md is what the parser goes by.
func TestThePageHasAllKeys(t *testing.T) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", page)
	}
	want := policy.Table()
	if table == want {
		return
	}
	if !*update {
		t.Fatalf("the table in %s is not that of the code (-update rewrites it); it should be:\n%s", page, want)
	}
	if err := os.WriteFile(page, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestDefaultsAreThoseOfTheCode reads the constants that the packages which act on a policy have for themselves.
func TestDefaultsAreThoseOfTheCode(t *testing.T) {
	constants := make(map[string]string)
	for _, dir := range []string{"../resilience", "../rpc", "../rest"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				g, ok := d.(*ast.GenDecl)
				if !ok || g.Tok != token.CONST {
					continue
				}
				for _, s := range g.Specs {
					spec := s.(*ast.ValueSpec)
					for i, name := range spec.Names {
						if i < len(spec.Values) {
							constants[filepath.Base(dir)+"."+name.Name] = evaluate(spec.Values[i])
						}
					}
				}
			}
		}
	}
	for constant, key := range map[string]string{
		"resilience.DefaultTimeout": "calls.timeout", "resilience.DefaultMaxAttempts": "calls.attempts",
		"resilience.defaultAttemptFloor": "calls.attempt_floor", "resilience.defaultBackoffBase": "calls.backoff.base",
		"resilience.defaultBackoffMax": "calls.backoff.max", "resilience.defaultRatio": "calls.budget.ratio",
		"resilience.defaultFloor": "calls.budget.floor", "resilience.defaultBurst": "calls.budget.burst",
		"resilience.defaultHedges": "calls.hedge.share", "resilience.defaultK": "calls.throttle.k",
		"resilience.defaultThrottleTime": "calls.throttle.window", "resilience.defaultPassFloor": "calls.throttle.floor",
		"rpc.DefaultServerTimeout": "serves.timeout", "rest.DefaultTimeout": "serves.timeout",
	} {
		if got, want := constants[constant], policy.Standard(key); got != want || got == "" {
			t.Errorf("%s is %q, %s defaults to %q", constant, got, key, want)
		}
	}
}

// evaluate returns a constant as a policy would have it, "" if it is nothing that can be in one.
func evaluate(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Value
	case *ast.SelectorExpr:
		return "1 " + e.Sel.Name
	case *ast.BinaryExpr:
		n, err := strconv.Atoi(evaluate(e.X))
		unit, ok := map[string]time.Duration{
			"1 Millisecond": time.Millisecond, "1 Second": time.Second, "1 Minute": time.Minute,
		}[evaluate(e.Y)]
		if err == nil && ok && e.Op == token.MUL {
			return (time.Duration(n) * unit).String()
		}
	}
	return ""
}

// TestTheExampleOnThePageIsValid: readers copy it.
func TestTheExampleOnThePageIsValid(t *testing.T) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(b), "```yaml\n")
	example, _, ok := strings.Cut(example, "```")
	if !ok {
		t.Fatal("there is no example")
	}
	if s, err := policy.Parse("example", []byte(example)); err != nil || len(s.Calls.Methods) != 2 || len(s.Serves.Admission.Quotas) != 2 {
		t.Errorf("%+v, %v", s, err)
	}
}
