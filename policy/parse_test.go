package policy_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/policy"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata, and the table in docs/policies.md")

// TestGolden parses every file of testdata; what comes out, problems or the policy, is in the .txt
// beside it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s, err := policy.Parse(filepath.Base(file), b)
			got := string(policy.Marshal(s))
			if err != nil {
				got = err.Error() + "\n"
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", got)
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

func TestEveryProblemIsReportedAtOnceInTheOrderOfTheFile(t *testing.T) {
	b, err := os.ReadFile("testdata/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, err = policy.Parse("values.yaml", b)
	var problems policy.Problems
	if !errors.As(err, &problems) || len(problems) < 20 {
		t.Fatalf("%d problems of %T, want at least 20", len(problems), err)
	}
	last := 0
	for _, p := range problems {
		if p.Line < last || p.Line == 0 {
			t.Errorf("line %d after %d: %s", p.Line, last, p)
		}
		last = p.Line
	}
}

func TestWhatMarshalWritesIsReadBack(t *testing.T) {
	for _, name := range []string{"full", "offs", "nothing", "json"} {
		b, err := os.ReadFile("testdata/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		s, err := policy.Parse(name, b)
		if err != nil {
			t.Fatal(err)
		}
		same(t, s)
	}
}

func same(t *testing.T, s policy.Service) {
	t.Helper()
	for form, b := range map[string][]byte{"Marshal": policy.Marshal(s), "Effective": policy.Effective(s)} {
		again, err := policy.Parse(form, b)
		if err != nil {
			t.Errorf("%s is not read back: %v\n%s", form, err, b)
		} else if !reflect.DeepEqual(s, again) {
			t.Errorf("%s is read back as something else:\n%s\n got %+v\nwant %+v", form, b, again, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := policy.Parse("fuzz", b)
		var problems policy.Problems
		switch {
		case err == nil:
			if err := s.Validate(); err != nil {
				t.Errorf("accepted, and not valid: %v", err)
			}
			same(t, s)
		case !errors.As(err, &problems) || len(problems) == 0:
			t.Errorf("error %T without problems", err)
		case !reflect.DeepEqual(s, policy.Service{}):
			t.Error("a policy beside its problems")
		}
	})
}

// TestEveryFieldHasAKey: a field that no document can set has to be named here, with the reason.
func TestEveryFieldHasAKey(t *testing.T) {
	without := map[string]string{
		"Calls.Balance.Picker":  "is code",
		"Calls.Balance.OnEject": "is code",
		"Calls.Balance.Zone":    "is the caller's own",
		"Calls.Balance.Seed":    "is the caller's own",
	}
	b, err := os.ReadFile("testdata/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	full, err := policy.Parse("full.yaml", b)
	if err != nil {
		t.Fatal(err)
	}
	b, err = os.ReadFile("testdata/offs.yaml")
	if err != nil {
		t.Fatal(err)
	}
	offs, err := policy.Parse("offs.yaml", b)
	if err != nil {
		t.Fatal(err)
	}
	var walk func(path string, a, b reflect.Value)
	walk = func(path string, a, b reflect.Value) {
		if a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil() {
			a, b = a.Elem(), b.Elem()
		}
		if a.Kind() == reflect.Struct {
			for i := range a.NumField() {
				walk(strings.TrimPrefix(path+"."+a.Type().Field(i).Name, "."), a.Field(i), b.Field(i))
			}
			return
		}
		if set := !a.IsZero() || !b.IsZero(); set == (without[path] != "") {
			t.Errorf("%s: set by testdata/full.yaml or offs.yaml: %v; listed as having no key: %v", path, set, without[path] != "")
		}
	}
	walk("", reflect.ValueOf(full), reflect.ValueOf(offs))
	for _, field := range reflect.VisibleFields(reflect.TypeFor[policy.Method]()) {
		if reflect.ValueOf(full.Calls.Methods["/shop.Orders/Place"]).FieldByIndex(field.Index).IsZero() &&
			reflect.ValueOf(full.Calls.Methods["GET /orders/"]).FieldByIndex(field.Index).IsZero() {
			t.Errorf("a method's %s is not set by testdata/full.yaml", field.Name)
		}
	}
}
