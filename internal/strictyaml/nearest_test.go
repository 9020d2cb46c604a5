package strictyaml_test

import (
	"testing"

	"github.com/holdfast-go/holdfast/internal/strictyaml"
)

func TestNearest(t *testing.T) {
	names := []string{"replicas", "run", "http", "env", "needs"}
	for name, want := range map[string]string{
		"replica": "replicas", "repilcas": "replicas", "rum": "run", "htpp": "http", "needs": "needs", "colour": "", "": "",
		"envs": "env", "port": "",
	} {
		if got := strictyaml.Nearest(name, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}
