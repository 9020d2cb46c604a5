//go:build unix

package consulagent

import (
	"os"
	"strings"
	"testing"
)

// TestVersion: what is looked for is what `make consul` builds.
func TestVersion(t *testing.T) {
	b, err := os.ReadFile("../../tools/consul/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "\tgithub.com/hashicorp/consul v"+Version+" ") {
		t.Errorf("tools/consul/go.mod does not have version %s", Version)
	}
}

// TestProgram: without the program the error says how to get it.
func TestProgram(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if _, err := Program(); err == nil || !strings.Contains(err.Error(), "make consul") {
		t.Errorf("got %v", err)
	}
}
