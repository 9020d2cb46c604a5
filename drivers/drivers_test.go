package drivers_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/drivers"
)

// TestAll: a service whose setting names any engine starts, without that engine.
func TestAll(t *testing.T) {
	for _, url := range []string{"consul://127.0.0.1:1", "etcd://127.0.0.1:1", "static:orders=127.0.0.1:1"} {
		t.Setenv("HOLDFAST_REGISTRY", url)
		svc := holdfast.New("alpha", holdfast.Drivers(drivers.All()...))
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := svc.Run(ctx); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestUnusedIsNotLinked: what a program does not name it does not carry.
func TestUnusedIsNotLinked(t *testing.T) {
	for pkg, linked := range map[string]bool{"..": false, ".": true} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(out), "/consulregistry"); got != linked {
			t.Errorf("%s depends on Consul: %v", pkg, got)
		}
	}
}
