//go:build real

package work

import "testing"

func TestRealRosterOnConsul(t *testing.T) { restartEngine(t, EngineConsul) }
