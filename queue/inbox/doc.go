// Package inbox keeps messages that come twice from being handled twice. An inbox is given to a subscription
// (queue.SubscriptionConfig.Inbox), which asks it before each attempt.
//
// A queue delivers at least once: again when an instance died before it could settle a message, when a publisher repeated what
// it could not know to be taken, when an outbox was not marked in time. What an inbox can do about it depends on where
// the handler's effect is.
//
//	effect is in              use                            a message that was handled to the end
//	a SQL database            sqlinbox, sqlinbox.Tx(ctx)     has had its effect exactly once
//	etcd                      etcdinbox.Atomic, etcdinbox.Do has had its effect exactly once
//	replica/kv                kvinbox.Atomic, kvinbox.Do     has had its effect exactly once
//	a machine of one's own    Key(ctx) with replica.Once, or has had its effect exactly once, for as long as keys are
//	  (package replica)       in the machine itself          kept
//	anything else: a mail,    New on a store of claims       has had its effect at least once; twice only if a process died,
//	  a payment provider      (etcdidempotency.Store,        or was cut off or frozen for longer than Lease, in
//	                          kvinbox.Store, a database's)   the moment between the effect and the mark
//	this process's memory     NewMemory                      as the line before, within this process's life
//
// # What it gives
//
// Effect and mark in one transaction (the first lines): both are there or neither, whatever dies, whatever is delivered again,
// to however many instances at once. A handler may run more than once; what the others did is rolled back, or refused.
//
// Claims (the lines after): a message is claimed for a Lease, which is renewed while the handler runs. One instance runs it;
// others that get the same message meanwhile wait for up to MaxWait and then tell the queue to come later (ErrUnderWay). When the
// handler has returned nil the claim becomes the mark. When it failed the claim is given up, and whoever comes next has it.
//
// ErrUnderWay is no failed attempt: the subscription keeps the message and asks again in about a second, for as long as the
// other instance is at it, be it minutes; it makes no dead letter, and is not taken for an outage. Meanwhile the message has one
// of the subscription's handlers for up to MaxWait in each round.
//
// # What has to run
//
// sqlinbox.Inbox.Run removes marks whose time is over: without it the table grows for ever. It belongs to the service, beside
// its subscription:
//
//	svc.Go("inbox", in.Run)
//
// Marks of kvinbox end by their TTL as long as its map is run; those of etcdinbox by leases, and of NewMemory as new ones come: nothing
// has to be run for them.
//
// # What it does not give
//
//   - Effects outside of the transaction are not part of it. A handler that writes to its database and sends a mail may
//     send the mail twice: send it from a message of its own (an outbox in the same transaction), whose receiver has
//     the message's ID to be idempotent with.
//   - Nothing is remembered for ever. Marks are kept for Keep (7 days: as long as queues keep messages, by default). A
//     message that comes again later, from a queue that retains longer, from a backup, is handled again.
//   - Messages are told apart by topic, group, source and ID. Two messages that say the same with different IDs are two.
//   - A dead letter was never handled to the end, so its replay is handled. To handle a message again that was, its
//     mark has to be removed.
//   - When the store of the marks is away, messages are not handled: nobody knows whether they were. The subscription
//     slows down and goes on when it is back.
//
// # Idempotency keys
//
// Package idempotency does for calls what this one does for messages: an answer is kept for a key that the caller chose. The
// claims of New are made by its Ledger, on its stores. A message has no answer, and its key is its ID.
package inbox
