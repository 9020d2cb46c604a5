// Package greeter_test holds the greeter to what is said about it.
package greeter_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/holdfast-go/holdfast/platform/system"
)

func TestAServiceIsSmall(t *testing.T) {
	for _, name := range []string{"hello/main.go", "front/main.go"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(b, []byte("\n")); n > 25 {
			t.Errorf("%s has %d lines", name, n)
		}
	}
}

func TestSystemFile(t *testing.T) {
	s, err := system.Load(".")
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "greeter" || len(s.Services) != 2 {
		t.Errorf("system is %+v", s)
	}
}
