package replica_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/replica/shard"
)

// The tests of replica/shard stand here, since they run real hosts on simulated disks and a simulated network, in
// virtual time.

var (
	fiveHosts = []string{"a", "b", "c", "d", "e"}
	fourHosts = fiveHosts[:4]
)

// TestShardsMoveUnderWrites: two hosts come, two others go, and no write is lost, doubled or refused.
func TestShardsMoveUnderWrites(t *testing.T) {
	inFleet(t, 1, fiveHosts, shard.Config{Shards: 2, Replicas: 3}, func(f *fleet) {
		f.start("a", "b", "c")
		f.ready("a", "b", "c")
		w := f.write(4)
		f.start("d", "e")
		f.ready("d", "e")
		f.spread("a", "b", "c")
		f.rebalance("b", fiveHosts...)
		f.spread(fiveHosts...)
		f.rebalance("d", "c", "d", "e")
		f.spread("c", "d", "e")
		w.stop()
		if len(w.failed) > 0 || w.slowest > 500*time.Millisecond {
			f.Errorf("the slowest write took %v; failed: %v", w.slowest, w.failed)
		}
	})
}

// TestASingleReplicaMoves: a shard without copies changes its only host, and nobody notices.
func TestASingleReplicaMoves(t *testing.T) {
	inFleet(t, 5, fiveHosts, shard.Config{Shards: 2, Replicas: 1}, func(f *fleet) {
		f.start("a", "b", "c")
		f.ready("a", "b", "c")
		w := f.write(2)
		for _, to := range []string{"b", "c", "a"} {
			f.rebalance("a", to)
		}
		f.spread("a")
		w.stop()
		if len(w.failed) > 0 || w.slowest > 2*time.Second {
			f.Errorf("the slowest write took %v; failed: %v", w.slowest, w.failed)
		}
	})
}

// TestShardsComeBack: after a stop of all, everything is where it was.
func TestShardsComeBack(t *testing.T) {
	inFleet(t, 2, fourHosts, shard.Config{Shards: 2, Replicas: 3}, func(f *fleet) {
		f.start(fourHosts...)
		f.ready(fourHosts...)
		w := f.write(3)
		f.rebalance("a", "b", "c", "d")
		for _, n := range fourHosts {
			f.machines[n].crash()
		}
		pass(time.Second)
		f.start(fourHosts...)
		f.ready(fourHosts...)
		w.stop()
		f.spread("b", "c", "d")
	})
}

// TestShardsMoveWhileHostsCrash: hosts lose power at random moments of a move and come back. It gets there, and nothing
// is lost or doubled.
func TestShardsMoveWhileHostsCrash(t *testing.T) {
	for seed := range uint64(1) {
		inFleet(t, 10+seed, fourHosts, shard.Config{Shards: 2, Replicas: 3}, func(f *fleet) {
			rng := rand.New(rand.NewPCG(seed, 9))
			f.start(fourHosts...)
			f.ready(fourHosts...)
			w := f.write(3)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
			defer cancel()
			targets := [][]string{{"b", "c", "d"}, {"a", "b", "d"}}
			for _, to := range targets {
				moved := make(chan struct{})
				go func() {
					defer close(moved)
					for ctx.Err() == nil {
						m := f.machines[fourHosts[rand.IntN(4)]].shards()
						if m == nil {
							pass(100 * time.Millisecond)
							continue
						}
						try, done := context.WithTimeout(ctx, 20*time.Second)
						err := m.Rebalance(try, to)
						done()
						if err == nil {
							return
						}
						pass(100 * time.Millisecond)
					}
				}()
				for range 2 {
					pass(time.Duration(rng.IntN(2500)) * time.Millisecond)
					x := f.machines[fourHosts[rng.IntN(4)]]
					x.crash()
					pass(time.Duration(rng.IntN(1500)) * time.Millisecond)
					x.start()
				}
				<-moved
			}
			f.spread("a", "b", "d")
			w.stop()
		})
	}
}

// TestAMoveCanBeTakenElsewhere: one to a host that is not there waits, and another takes its place.
func TestAMoveCanBeTakenElsewhere(t *testing.T) {
	inFleet(t, 4, fiveHosts, shard.Config{Shards: 1, Replicas: 3}, func(f *fleet) {
		f.start("a", "b", "c", "d")
		f.ready("a", "b", "c", "d")
		w := f.write(2)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := f.machines["a"].shards().Move(ctx, 0, []string{"a", "b", "e"}); err == nil {
			f.Fatal("moved to a host that does not run")
		}
		ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := f.machines["a"].shards().Move(ctx, 0, []string{"a", "b", "d"}); err != nil {
			f.dump()
			f.Fatal(err)
		}
		w.stop()
		if r := f.machines["a"].shards().Rows()[0]; !slices.Equal(r.Hosts, []string{"a", "b", "d"}) {
			f.Fatalf("%+v", r)
		}
		if err := f.machines["a"].shards().Move(ctx, 0, []string{"a", "b"}); err == nil {
			f.Fatal("moved to two hosts of three")
		}
		if err := f.machines["a"].shards().Move(ctx, 7, []string{"a", "b", "c"}); err == nil {
			f.Fatal("moved a shard that is none")
		}
	})
}
