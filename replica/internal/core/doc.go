// Package core is one member of one replicated group as a state machine without a clock, a goroutine or a file: what it
// decides follows from what it is given, so that a simulator runs the very code that a service runs.
//
// Two values make a member. [Member] orders: it wraps go.etcd.io/raft's RawNode (with asynchronous storage writes) and
// holds what waits for it, the proposals and reads of this process. [Applier] runs: it takes committed entries in order,
// gives each command to the [Machine] at most once, and completes the proposals that came from here. Around them stands
// a shell that owns time, disk and network and does what [Member.Ready] says:
//
//	loop (one goroutine a group)             disk writer (one a host)        applier (one a group)
//	m.Tick, m.Receive, m.Persisted, m.Applied
//	w := m.Ready(now)
//	  w.Send  ──► network, at once
//	  w.Append ─────────────────────────────► write, sync
//	                                          Append.Send ──► network
//	  m.Persisted(now, append) ◄───────────── done
//	  w.Apply ──────────────────────────────────────────────────────────────► applier.Apply(item)
//	  m.Applied(now, item) ◄───────────────────────────────────────────────── done
//
// [Member.Propose], [Member.Cancel], [Member.Read], [Member.Fresh] and [Member.Status] may be called from any goroutine;
// all other methods of a Member belong to its loop, and all methods of an Applier to its applier.
//
// # Proposals
//
// Every waiting command goes into one batch, and a leader puts all batches that it has, its own and those of other
// members, into one entry of the log. A member that does not lead sends its batch to the leader and gets its results by
// applying the entry itself. Whenever the leader or the term changes, all batches that are not known to be applied are
// sent again at once; they are sent again after a while when nothing is heard, too. A session makes that safe: the
// member opens one through the log, numbers its commands, and the state that every member keeps knows which numbers have
// been applied and with which results (see Ongaro, Consensus: Bridging Theory and Practice, 6.3).
//
// # Reads
//
// All waiting reads share one ReadIndex with a context that is never used twice; those that come meanwhile share the
// next, which waits for the end of the one before for two heartbeats and no longer. Asking again takes nothing from what
// was asked before: where the leader is far away, its answer to that is the first that comes. A read is let through when the local state has reached the index. The same round tells how old local state is
// at most, which is what [Member.Fresh] compares: with this member's own monotonic clock alone. There are no leases.
//
// # Elections
//
// Election timeouts are drawn by this package from Config.Seed, not by raft from the system's randomness. A member that
// is told that its leader's process is gone ([Member.PeerDown]) forgets the leader and stands within a fraction of the
// timeout; pre-votes keep that harmless where it was wrong.
package core
