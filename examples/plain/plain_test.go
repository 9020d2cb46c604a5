// Package plain_test holds the plain system to what is said about it.
package plain_test

import (
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/drill"
	"github.com/holdfast-go/holdfast/platform/system"
)

// Nothing of Holdfast is in it, so that what a drill says of it is said of grpc-go, net/http and etcd.
func TestNothingOfItIsHoldfasts(t *testing.T) {
	for _, name := range []string{"greeter/main.go", "front/main.go"} {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range f.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			if strings.HasPrefix(path, "github.com/holdfast-go/holdfast") && path != "github.com/holdfast-go/holdfast/examples/plain/greeterpb" {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}

func TestFiles(t *testing.T) {
	sys, err := system.Load(".")
	if err != nil {
		t.Fatal(err)
	}
	if sys.Name != "plain" || len(sys.Services) != 2 {
		t.Errorf("the system is %+v", sys)
	}
	drills, err := drill.LoadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, 0, len(drills))
	for _, d := range drills {
		names = append(names, d.Name)
		if len(d.Load.Calls) != 2 {
			t.Errorf("%s has %d calls", d.Name, len(d.Load.Calls))
		}
	}
	if got := strings.Join(names, " "); got != "standard registry-forgets" {
		t.Errorf("the drills are %s", got)
	}
}
