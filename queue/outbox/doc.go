// Package outbox publishes events that were stored together with the change they tell of.
//
// A service that writes to its database and then publishes loses the event when it dies in between, and one that
// publishes first tells of what may not happen. With an outbox the event is written by the same transaction as the change
// ([Store]: package sqlstore for databases, or part of a replicated state machine); a [Relay] publishes what is there.
package outbox
