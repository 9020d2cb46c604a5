// Package queue sends messages that are not lost, and handles them until they are done.
//
// A [Queue] is one process's client of one engine (NATS, Kafka, RabbitMQ, or memory). [Topic.Publish] returns after the
// engine has confirmed the message, or says why not. A [Subscription] hands messages to a [Handler], as one of the
// instances of a group: each message of the topic is handled by each group at least once. What fails is tried again,
// what can never succeed is set aside among the group's [DeadLetters], from where people replay or discard it.
//
// At least once means that a handler sees a message twice now and then: when an instance died between the effect and the
// settling, or when a publisher repeated what it could not know to be taken. A handler whose effect must happen once
// uses SubscriptionConfig.Inbox, or is idempotent by itself.
//
// The engines differ in driver.Capabilities only. What a program depends on it asks for (Config.Require,
// SubscriptionConfig.Ordered), and an engine that does not have it is an error at once.
package queue
