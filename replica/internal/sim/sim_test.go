package sim_test

import (
	"bytes"
	"flag"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/replica/internal/sim"
)

var (
	first     = flag.Uint64("seed", 1, "the first seed")
	schedules = flag.Uint64("schedules", 16, "how many schedules")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Whatever the network, the disks, the clocks and the machines do, all clients together see one store that does one
// thing after the other, and nothing that was acknowledged is lost or done twice.
func TestSchedules(t *testing.T) {
	t.Parallel()
	var next, ops atomic.Uint64
	for range 2 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for i := next.Add(1) - 1; i < *schedules; i = next.Add(1) - 1 {
				r := sim.Run(sim.Draw(*first + i))
				ops.Add(uint64(r.Done))
				if !r.OK() {
					t.Errorf("%v\nagain: go run ./replica/internal/sim/schedules -log -seed %d", r, r.Seed)
				}
			}
		})
	}
	t.Cleanup(func() {
		if ops.Load() < 10**schedules {
			t.Errorf("only %d operations were answered in %d schedules: nothing is shown", ops.Load(), *schedules)
		}
	})
}

func TestASeedIsAHistory(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 2; seed++ {
		var logs [2]bytes.Buffer
		var hash [2]uint64
		for i := range logs {
			cfg := sim.Draw(seed)
			cfg.Log = &logs[i]
			hash[i] = sim.Run(cfg).Transcript
		}
		if hash[0] != hash[1] || !bytes.Equal(logs[0].Bytes(), logs[1].Bytes()) {
			t.Errorf("seed %d: two runs differ", seed)
		}
	}
}
