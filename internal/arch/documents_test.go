package arch

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// A document that names a test, or a program, names one that exists.
func TestDocumentsNameWhatExists(t *testing.T) {
	root := os.DirFS("../..")
	tests, cases := testsOf(t, root)
	for _, doc := range []string{"docs/failure-modes.md", "registry/DESIGN.md", "rpc/DESIGN.md", "lock/DESIGN.md", "replica/DESIGN.md", "replica/internal/core/DESIGN.md"} {
		b, err := fs.ReadFile(root, doc)
		if err != nil {
			t.Fatal(err)
		}
		named := 0
		for _, m := range quoted.FindAllStringSubmatch(string(b), -1) {
			switch name := m[1]; {
			case testName.MatchString(name):
				named++
				pkg, test, ok := strings.Cut(name, ".")
				if !ok {
					pkg, test = path.Base(path.Dir(doc)), name
				}
				if !tests[pkg+"."+test] {
					t.Errorf("%s: there is no test %s.%s", doc, pkg, test)
				}
			case caseName.MatchString(name):
				named++
				if !cases[name] {
					t.Errorf("%s: no conformance suite has a case %s", doc, name)
				}
			case strings.HasPrefix(name, "bench/"):
				named++
				if info, err := fs.Stat(root, name); err != nil || !info.IsDir() {
					t.Errorf("%s: there is no program %s", doc, name)
				}
			}
		}
		if named == 0 {
			t.Errorf("%s names nothing: the test does not read it", doc)
		}
	}
}

var (
	quoted   = regexp.MustCompile("`([^`\n]+)`")
	testName = regexp.MustCompile(`^([a-z]+\.)?(Test|Fuzz)[A-Z]\w*$`)
	caseName = regexp.MustCompile(`^[A-Z][a-z]+/[A-Z]\w*$`)
	function = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	suite    = regexp.MustCompile(`"([A-Z][a-z]+/[A-Z]\w*)"`)
)

// testsOf returns the tests of all packages as "package.Test", and the cases of the conformance suites.
func testsOf(t *testing.T, root fs.FS) (tests, cases map[string]bool) {
	t.Helper()
	tests, cases = make(map[string]bool), make(map[string]bool)
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && name != "." {
				return fs.SkipDir
			}
			return nil
		}
		suites := strings.HasSuffix(path.Dir(name), "test")
		if !strings.HasSuffix(name, "_test.go") && !(suites && strings.HasSuffix(name, ".go")) {
			return nil
		}
		b, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		pkg := path.Base(path.Dir(name))
		if pkg == "." {
			pkg = "holdfast"
		}
		for _, m := range function.FindAllStringSubmatch(string(b), -1) {
			tests[pkg+"."+m[1]] = true
		}
		if suites {
			for _, m := range suite.FindAllStringSubmatch(string(b), -1) {
				cases[m[1]] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests, cases
}
