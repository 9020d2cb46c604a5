package drill

import (
	"time"

	"github.com/holdfast-go/holdfast/drill/inject"
)

// RandomKinds are the kinds that faults are drawn of where nothing else is said.
func RandomKinds() []inject.Kind {
	return []inject.Kind{
		inject.Kill, inject.Freeze, inject.SlowCPU, inject.Restart,
		inject.Partition, inject.Latency, inject.Reset, inject.Errors, inject.Disk,
	}
}

// Draw draws faults for a drill of so long. It is pure.
func Draw(r Random, w inject.World, seed uint64, length time.Duration) []inject.Fault { return nil }
