package shard_test

import (
	"fmt"
	"slices"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/replica/shard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func names(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("host-%02d", i))
	}
	return out
}

// well checks a plan: as many different hosts as replicas for each shard, sorted, and loads that differ by one at most.
func well(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, plan [][]string, shards, replicas int, hosts []string,
) {
	t.Helper()
	load := map[string]int{}
	if len(plan) != shards {
		t.Fatalf("%d shards of %d", len(plan), shards)
	}
	for i, on := range plan {
		if len(on) != replicas || !slices.IsSorted(on) || len(slices.Compact(slices.Clone(on))) != replicas {
			t.Fatalf("shard %d is on %v", i, on)
		}
		for _, h := range on {
			if !slices.Contains(hosts, h) {
				t.Fatalf("shard %d is on %s, which is none of %v", i, h, hosts)
			}
			load[h]++
		}
	}
	for _, h := range hosts {
		if each := shards * replicas / len(hosts); load[h] < each || load[h] > each+1 {
			t.Fatalf("%s has %d shards, and %d is even: %v", h, load[h], each, load)
		}
	}
}

func moves(from, to [][]string) (n int) {
	for i := range to {
		for _, h := range to[i] {
			if !slices.Contains(from[i], h) {
				n++
			}
		}
	}
	return n
}

func TestAPlanIsEvenAndMovesLittle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		replicas := rapid.IntRange(1, 5).Draw(t, "replicas")
		shards := rapid.IntRange(1, 100).Draw(t, "shards")
		all := names(20)
		choose := func(label string) []string {
			n := rapid.IntRange(replicas, 12).Draw(t, label)
			return slices.Sorted(slices.Values(rapid.Permutation(all).Draw(t, label+" hosts")[:n]))
		}
		before, after := choose("before"), choose("after")
		first := shard.Plan(shards, replicas, before, nil)
		well(t, first, shards, replicas, before)
		if again := shard.Plan(shards, replicas, before, first); moves(first, again) > 0 {
			t.Fatalf("moved without a reason: %d", moves(first, again))
		}
		second := shard.Plan(shards, replicas, after, first)
		well(t, second, shards, replicas, after)
		if !slices.EqualFunc(second, shard.Plan(shards, replicas, after, first), slices.Equal) {
			t.Fatalf("another plan for the same")
		}
		// What hosts had that are gone has to move, and what hosts that stay have beyond an even share.
		load := map[string]int{}
		for _, on := range first {
			for _, h := range on {
				load[h]++
			}
		}
		must, each := 0, shards*replicas/len(after)
		for h, n := range load {
			if !slices.Contains(after, h) {
				must += n
			} else if n > each+1 {
				must += n - each - 1
			}
		}
		if got := moves(first, second); got > must+len(after) {
			t.Fatalf("%d moves where about %d do", got, must)
		}
	})
}

func TestAddingAHostMovesItsShareAlone(t *testing.T) {
	first := shard.Plan(96, 3, names(3), nil)
	second := shard.Plan(96, 3, names(4), first)
	if got := moves(first, second); got != 96*3/4 {
		t.Fatalf("%d moves", got)
	}
}

// The shard of a key is for ever: what is stored depends on it.
func TestKeysStayWhereTheyAre(t *testing.T) {
	for key, want := range map[string]int{"": 27, "a": 56, "order-1": 19, "order-2": 3, "größe": 40} {
		if got := shard.Of(key, 64); got != want {
			t.Errorf("%q is in shard %d, and was in %d", key, got, want)
		}
	}
	load := make([]int, 64)
	for i := range 64_000 {
		load[shard.Of(fmt.Sprintf("customer/%d", i), 64)]++
	}
	if least, most := slices.Min(load), slices.Max(load); least < 850 || most > 1150 {
		t.Errorf("from %d to %d keys a shard, where 1000 are even", least, most)
	}
}
