//go:build unix

package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/platform/system"
)

// Control members keep their addresses, so data of loopback is not used in namespaces, nor the other way round, and what is
// outside of the namespaces cannot be reached from them; all of which is said before anything is made.
func TestNetworkOfOtherData(t *testing.T) {
	data := t.TempDir()
	if _, err := chooseMembers(data, nil, 3, true); err != nil {
		t.Fatal(err)
	}
	if _, err := openNetwork(Config{System: &system.System{}, Data: data}); err == nil || !strings.Contains(err.Error(), "was made without --netns") {
		t.Errorf("data of loopback: %v", err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(data, "control", "addresses.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"control-1 client": "10.200.1.1:2379"}`)
	if _, err := chooseMembers(data, nil, 1, true); err == nil || !strings.Contains(err.Error(), "was made with --netns") {
		t.Errorf("data of a network: %v", err)
	}
	write(`{"control-1 client": "10.200.1.1"}`)
	if _, err := openNetwork(Config{System: &system.System{}, Data: data}); err == nil || !strings.Contains(err.Error(), "read addresses") {
		t.Errorf("a file that is damaged: %v", err)
	}
	for _, sys := range []*system.System{{Registry: "consul://u:secret@127.0.0.1:8500"}, {Queue: "kafka://u:secret@127.0.0.1:9092"}} {
		_, err := openNetwork(Config{System: sys, Data: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), "which is outside") || strings.Contains(err.Error(), "secret") {
			t.Errorf("an engine outside: %v", err)
		}
	}
}
