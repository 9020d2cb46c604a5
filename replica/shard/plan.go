package shard

import (
	"cmp"
	"hash/fnv"
	"slices"
)

// mix is the finalizer of splitmix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014): FNV alone
// leaves the high bits of short keys alike.
func mix(h uint64) uint64 {
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}

// Of returns the shard of a key among n. It never changes: stored data depends on it.
func Of(key string, n int) int {
	f := fnv.New64a()
	_, _ = f.Write([]byte(key)) // never fails
	return int(mix(f.Sum64()) % uint64(n))
}

// weight orders hosts for a shard, differently for each: rendezvous hashing (Thaler and Ravishankar, 1998).
func weight(shard int, host string) uint64 {
	f := fnv.New64a()
	_, _ = f.Write([]byte(host))
	return mix(f.Sum64() ^ mix(uint64(shard)+0x9e3779b97f4a7c15))
}

// Plan returns on which hosts each shard should be: replicas of them each, as even as can be (no host has two shards more
// than another), with as few changes to current as that takes. The lists are sorted. current may be empty, for new ones;
// hosts must be at least as many as replicas. It is pure, and says the same everywhere.
func Plan(shards, replicas int, hosts []string, current [][]string) [][]string {
	hosts = slices.Compact(slices.Sorted(slices.Values(hosts)))
	load := make(map[string]int, len(hosts))
	plan := make([][]string, shards)
	for i := range plan {
		if i < len(current) {
			for _, h := range current[i] {
				if _, known := slices.BinarySearch(hosts, h); known && len(plan[i]) < replicas {
					plan[i] = append(plan[i], h)
					load[h]++
				}
			}
		}
	}
	for i := range plan {
		for len(plan[i]) < min(replicas, len(hosts)) {
			best := ""
			for _, h := range hosts {
				if !slices.Contains(plan[i], h) && (best == "" || lighter(load, i, h, best)) {
					best = h
				}
			}
			plan[i] = append(plan[i], best)
			load[best]++
		}
	}
	for even(plan, hosts, load) {
	}
	for i := range plan {
		slices.Sort(plan[i])
	}
	return plan
}

func lighter(load map[string]int, shard int, a, b string) bool {
	return cmp.Or(cmp.Compare(load[a], load[b]), cmp.Compare(weight(shard, b), weight(shard, a))) < 0
}

// even moves one shard from the host that has most to the one that has least, if they differ by two or more. The sum of
// the squares of the loads falls each time, so this ends.
func even(plan [][]string, hosts []string, load map[string]int) bool {
	most, least := hosts[0], hosts[0]
	for _, h := range hosts {
		if load[h] > load[most] {
			most = h
		}
		if load[h] < load[least] {
			least = h
		}
	}
	if load[most]-load[least] < 2 {
		return false
	}
	best := -1
	for i := range plan { // there is one: most has two more than least
		if slices.Contains(plan[i], most) && !slices.Contains(plan[i], least) &&
			(best < 0 || weight(i, least) > weight(best, least)) {
			best = i
		}
	}
	plan[best][slices.Index(plan[best], most)] = least
	load[most]--
	load[least]++
	return true
}

// preferred returns the host that should lead a shard, so that leaders are spread, too.
func preferred(shard int, hosts []string) string {
	return slices.MaxFunc(hosts, func(a, b string) int { return cmp.Compare(weight(shard, a), weight(shard, b)) })
}
