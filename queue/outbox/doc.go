// Package outbox publishes events that were stored together with the change they tell of.
//
// A service that writes to its database and then publishes loses the event when it dies in between; one that publishes
// first tells of what may never happen. With an outbox the event is written by the transaction of the change: both are
// there, or neither. A [Relay] publishes what is there, for as long as it takes.
//
//	change and event, one transaction          Relay, one of all instances            queue
//	───────────────────────────────▶ Store ──▶ Pending ──▶ PublishMessages ─────────▶ confirmed
//	                                   ▲                                                 │
//	                                   └───────────────────────── Done ◀────────────────┘
//
// Where the events are is a [Store]'s affair: package sqlstore keeps them in PostgreSQL and SQLite; a replicated state machine
// (package replica) keeps them in its own state, appended by the command that makes the change. Package outboxtest has the
// suite that a Store must pass.
//
// # What it gives
//
//   - An event whose transaction was committed is published, whatever dies and however long the queue is away. One whose transaction
//     was not is never published.
//   - Events with the same key are published in their order: the next one is not tried before the queue has confirmed the one before.
//     What fails holds up its own key, what fails for all of a topic that topic; everything else goes on.
//   - An event may be published more than once, always with the same ID: when the relay or its store died between the
//     confirmation and the mark, and when the queue took it without being able to say so. Engines that deduplicate
//     keep it once for a while; consumers that care have an inbox (package queue/inbox).
//
// # Who leads, and what happens to who does not know
//
// One relay works at a time, by a lock of package lock (ByElection) or by the store (Leader). This saves work, no more: that of
// two relays at once both publish is what the design allows for, since no lock can reach into a process that is frozen. A
// relay that was stopped for longer than its lease looks at its lock before each batch. What it has in hand at that
// moment, up to Config.Batch for each topic, it may yet publish beside its successor.
//
// Those are doubles, and first deliveries keep their order all the same: each relay publishes the event n of a key only after n-1
// was confirmed, to itself or to whoever marked it. So whatever a late relay publishes has been published by its successor
// before, or comes after everything that is before it. There is no fence at the queue, and none is needed: nothing
// false is published late, only something true again. Done needs no fence either, since an event that was published
// stays published. A consumer without an inbox may see 1 2 3 2 3 4, and never 3
// before the first 2.
//
// # What fails, and what happens then
//
//	the queue is away, or one of its topics     the topic is tried again, with pauses of up to 5 s; others go on
//	the queue refuses one message for good       its key waits, is tried once a minute, and stands in Status.Held until somebody
//	  (too large)                                corrects or removes it; nothing is dropped
//	it refuses many                              the same; what is behind them goes on, as long as not more than 1000 keys of a topic, or
//	                                             Config.Batch if that is more, wait: with more the topic is tried with pauses of up to 1 min
//	much waits, and it is added to               looking passes over all that waits, so it is done with pauses: 100 ms, and ten times what it takes
//	the store cannot be read                     tried again, with pauses of up to 2 s
//	the store cannot be marked                   nothing more is published meanwhile; what was is not published again while this relay lives
//	the relay dies                               another leads when the lock or lease has ended; up to a batch a topic comes twice
//	the relay is frozen                          the same; what it had in hand comes twice when it thaws
//	nobody is told of a new event                it is found by looking, within sqlstore.Config.Poll
//	more events than can be published            they wait in the store, which has to have room; Status.Lag says how many, and since when
//
// A relay that is told to stop goes on with what is there for up to Config.DrainTimeout, and then hands over at once.
package outbox
