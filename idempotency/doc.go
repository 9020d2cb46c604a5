// Package idempotency lets a request that is sent again get the answer of the first one, instead of having its effect
// again. The caller chooses a key for what it wants done once ("Idempotency-Key", draft-ietf-httpapi-idempotency-key-header)
// and sends it with every repetition. rpc.Deduplicate and rest.Deduplicate put a [Ledger] in front of handlers.
//
//	          Begin: no record                 Finish
//	(nothing) ───────────────▶ under way ───────────────▶ done ── Keep is over ──▶ (nothing)
//	    ▲                          │                        │
//	    └── Release, or the lease  ┘                        └─▶ Begin: the answer, again
//	        of a holder that died ends
//
// While a request is under way, its repetitions wait, in this process and in all others that share the store, as long as
// their deadline allows; then they are answered ABORTED (HTTP 409) and told when to come back. A key that comes with
// another request is refused, INVALID_ARGUMENT (HTTP 422), and nothing is run.
//
// # What it gives
//
// A handler that returned an answer worth keeping is not run again for the same key, for Keep, by anybody who uses the
// same store; all its callers get the same answer. Two runs for one key are never under way at once as long as the
// holder of the lease is alive and reaches the store once per lease.
//
// # What it does not give
//
// It is not exactly-once: nothing outside of the handler's own transaction can be.
//
//   - A process that dies, or is cut off from the store, between the handler's effect and Finish leaves no answer. When its
//     lease has ended, the next repetition runs the handler again. The same is true of a handler that fails: its key
//     is given back. A handler must therefore be able to find what an unfinished run before it has done, or be
//     one transaction.
//   - A process that is frozen for longer than its lease goes on when it thaws, beside its successor.
//   - Answers are forgotten: after Keep, and by a [Memory] that is full, earlier.
//   - A [Memory] knows of its own process only. Clients of this project repeat a call at another instance,
//     so a service of several instances needs a store that they share (package etcdidempotency, or a [Store] on the
//     service's own database).
//   - Answers that say nothing about the request are not kept, since a repetition may fare better: see [Final].
//
// What must happen once whatever happens (money) belongs under the key in the same transaction as the effect. Then
// this package saves the work of repetitions, and that transaction keeps the promise.
package idempotency
