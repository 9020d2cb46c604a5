// Package embed runs the engines of the control plane inside this process, as components: an etcd member, and a NATS
// server with JetStream. An embedded server is no driver: the ordinary client dials it.
//
// What it adds to etcd's own embed package: a directory that is somebody else's, in use, corrupt or emptied is an error
// that says so, where etcd panics, waits or tries for ever; members that start together do not wait for each other's
// time-outs; a member that stops hands its leadership over and sends its clients to other members at once, within a
// second also when all members stop; its log goes to slog and is silent when all is well; the disk space that it
// allocates ahead of time is small; a database that was full takes writes again when there is room.
//
// To a NATS server it adds: a directory in use and an address that is taken are errors, each message is on disk before it is
// confirmed, connections that are frozen are left within seconds, and clients are sent to other members by one that stops.
// A NATS member whose directory was emptied gets everything from the others again.
//
// What it does not do: replace an etcd member that has lost its data. That takes a decision (remove it, add it anew) of
// somebody who knows why it was lost.
package embed
