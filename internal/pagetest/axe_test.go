package pagetest

import (
	"os"
	"strings"
	"testing"
)

// TestAxeVersion: what is looked for is what `make axe` fetches.
func TestAxeVersion(t *testing.T) {
	b, err := os.ReadFile("../../tools/axe/pom.xml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "<axe.version>"+AxeVersion+"</axe.version>") {
		t.Errorf("tools/axe/pom.xml does not have version %s", AxeVersion)
	}
}

func TestWithoutAxe(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if _, err := AxeSource(); err == nil || !strings.Contains(err.Error(), "make axe") {
		t.Errorf("got %v", err)
	}
}
