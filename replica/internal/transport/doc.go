// Package transport carries messages between the hosts of replicated groups, over package rpc.
//
// Two hosts share one stream, whoever dialled it; if both did, each sends on the one that is older. A frame on it carries
// what has gathered for the other host, of all groups. Nothing waits for a slow host: what does not fit into its queue is
// dropped, and the sender is told. Snapshots have a stream each and are slowed down to a common rate.
//
// A stream on which nothing comes for Config.Silence is cut: both sides send something at least every third of that.
//
// What arrives is checked for its form here and for its sense (group, cluster, sender, receiver) by the [Handler].
package transport
