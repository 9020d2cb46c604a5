//go:build unix

package kafkatest

import (
	"os"
	"strings"
	"testing"
)

// TestVersion: what is looked for is what `make kafka` fetches.
func TestVersion(t *testing.T) {
	b, err := os.ReadFile("../../tools/kafka/pom.xml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "<kafka.version>"+Version+"</kafka.version>") {
		t.Errorf("tools/kafka/pom.xml does not have version %s", Version)
	}
}

// TestLibraries: without the broker the error says how to get it.
func TestLibraries(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if _, err := Libraries(); err == nil || !strings.Contains(err.Error(), "make kafka") {
		t.Errorf("got %v", err)
	}
}
