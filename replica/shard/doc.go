// Package shard spreads keys over many replicated groups, and the groups over many hosts.
//
// A [Map] has a fixed number of shards; a key belongs to one of them for ever ([Map.Of]). Each shard is a group of its own
// on some of the hosts ([Config.Replicas]), so that every host does a part of the work, and more hosts do more. Which hosts
// have which shard is in a table that is replicated itself: every host has a copy, and changes to it are linearizable.
//
//	m, err := shard.New(host, shard.Config{
//		Name:    "stock",
//		Machine: func(int) replica.Machine { return newStock() },
//	})
//	…
//	n := m.Of(key)
//	if g, machine, ok := m.Local(n); ok {
//		result, err := g.Propose(ctx, command)   // or g.Read and a look at machine
//	} else {
//		// pass the call on to one of m.Hosts(n), by the service's own RPC
//	}
//
// # Moving
//
// [Map.Move] takes a shard to other hosts while it is written to and read. The table names the new hosts; they join the
// shard's group as learners, catch up by a snapshot, and take the votes of the old ones one by one; the leader hands over
// last, if it goes; then the table names the new ones alone, and the old ones delete what they have. At each moment the
// group has a majority that holds everything, and each step is found out from the table and the group's own members: it
// does not matter who dies in between, whoever leads goes on. A move waits for hosts that are to have the shard; if one of
// them is gone for good, another Move takes the shard elsewhere, also to hosts that it was about to leave. A host that
// it has left can have it again once it has deleted what it had, which it does when all that vote in the group have heard
// that it is gone: until then Move waits, and if one of those is lost just then, the shard has to be moved away from that
// first. [Map.Rebalance] moves what it takes to spread all shards evenly, and not more.
//
// # What it does not do
//
// The number of shards does not change. There are no transactions over shards. A host that is gone for good is not moved
// away from by itself: call Rebalance without it, also when moves to it are under way. The table takes up to 64 hosts.
package shard
