// Package lock gives one of many processes at a time the right to do something, and tells it in time when that right is
// over: while the engine behind it (etcd, Consul) is slow, frozen, restarted, wiped or gone, and while the holder itself
// was stopped.
//
// A lock in a distributed system is a lease: a holder that falls silent loses it. Three things make that safe to use.
//
// The holder knows first. [Held.Context] ends before another can hold the lock: its time is counted from before the
// keep-alive was sent, on this process's own clock, less a margin (C. Gray, D. Cheriton, "Leases", 1989).
//
// Storage can refuse the late. Whatever this process does, a write that it sent while it held the lock can arrive when
// it does not any more. [Held.Token] grows with every holder: storage that remembers the largest token it has seen
// refuses those that come with a smaller one (M. Kleppmann, "How to do distributed locking", 2016; M. Burrows, "The
// Chubby lock service", 2006, calls it a sequencer). Package lock/guard has it for SQL and for etcd.
//
// An engine that lost its memory gives no lock away at once. One that is new or was wiped knows nothing of those who
// hold locks: claims are granted only after a TTL, when all of them have ended.
//
// Those who want the same lock wait in the order in which they came, each for the one before only.
//
// One [Locker] has one session at the engine, whatever the number of its locks. docs/locks.md says what each engine
// does, DESIGN.md in this folder has states and failures.
package lock
