//go:build real

package replicalock

import (
	"testing"
	"time"
)

// TestRealConformance: as on one member, on three, each client on one of them; what is restarted is the one that leads.
func TestRealConformance(t *testing.T) { testConformance(t, 3, 8*time.Second) }
