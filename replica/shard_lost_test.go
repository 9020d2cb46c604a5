package replica_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/replica/shard"
)

// TestAShardMovesOnThoughAHostOfTheTargetIsLost: a host that a shard moves to is lost for good after callers were sent to
// it. Another move takes the shard elsewhere: back to a host that it was about to leave, or that it has left.
func TestAShardMovesOnThoughAHostOfTheTargetIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		seed uint64
		when func(r shard.Row) bool
		to   []string
	}{
		"before the first has gone": {31, func(r shard.Row) bool { return r.Switched }, []string{"a", "c", "d"}},
		"after the first has gone":  {32, func(r shard.Row) bool { return r.Switched && len(r.Hosts) < 3 }, []string{"a", "c", "d"}},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, c.seed, fiveHosts, shard.Config{Shards: 1, Replicas: 3}, func(f *fleet) {
				f.start(fiveHosts...)
				f.ready(fiveHosts...)
				f.spreadOn("c", "a", "b", "c")
				w := f.write(2)
				moved, stop := context.WithCancel(context.Background())
				ended := make(chan struct{})
				f.ends = append(f.ends, func() { stop(); <-ended })
				go func() {
					defer close(ended)
					_ = f.machines["c"].shards().Move(moved, 0, []string{"c", "d", "e"})
				}()
				f.until("the target is asked", func() bool { return c.when(f.machines["c"].shards().Rows()[0]) })
				stop()
				<-ended
				f.machines["e"].crash()
				<-time.After(15 * time.Second) // whatever was under way has been given up
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
				defer cancel()
				if err := f.machines["c"].shards().Move(ctx, 0, c.to); err != nil {
					f.dump()
					f.Fatal(err)
				}
				w.stop()
				r := f.machines["c"].shards().Rows()[0]
				f.until("who is not to have it has nothing of it", func() bool {
					r = f.machines["c"].shards().Rows()[0]
					return slices.Equal(r.Leaving, []string{"e"}) && len(f.machines["b"].host.Groups()) == 1
				})
				if !slices.Equal(r.Hosts, c.to) {
					f.Errorf("%+v", r)
				}
			})
		})
	}
}

// spreadOn moves shard 0 to some hosts.
func (f *fleet) spreadOn(at string, hosts ...string) {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f.until("the shard has begun to exist", func() bool {
		rows := f.machines[at].shards().Rows()
		return len(rows) == 1 && rows[0].Founded
	})
	if err := f.machines[at].shards().Move(ctx, 0, hosts); err != nil {
		f.dump()
		f.Fatal(err)
	}
}

// until waits for something, for at most a minute.
func (f *fleet) until(what string, so func() bool) {
	f.Helper()
	for range 6000 {
		if so() {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	f.dump()
	f.Fatalf("not within a minute: %s", what)
}
