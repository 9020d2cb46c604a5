package queue

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// DeadLetters are the messages that a group set aside. Safe for concurrent use.
type DeadLetters struct {
	q            *Queue
	topic, group string
}

// DeadLetter is one of them.
type DeadLetter struct {
	// Position names it: for Get, Replay, Discard, and to list on from.
	Position string
	Buried   time.Time
	// Reason is why it is here, for people; FirstError and LastError are those of its attempts, cut to 1 KiB.
	Reason, FirstError, LastError string
	Attempts                      int
	// Instance is who gave up.
	Instance string
	// Replays is how often it was replayed before.
	Replays int
	// Message is as it was published.
	Message *driver.Message
}

// DeadLetters returns those of a group.
func (q *Queue) DeadLetters(topic, group string) *DeadLetters { return &DeadLetters{q, topic, group} }

// List returns at most limit letters, oldest first, after the one whose position is after; "" is the beginning.
func (d *DeadLetters) List(ctx context.Context, after string, limit int) ([]DeadLetter, error) {
	panic("not yet")
}

// Get returns one letter, NOT_FOUND if there is none at that position.
func (d *DeadLetters) Get(ctx context.Context, position string) (DeadLetter, error) {
	panic("not yet")
}

// Replay gives letters to their group again (no other group sees them) and then removes them, and says how many. A crash
// between the two leaves a letter here that was replayed. One that is not there is NOT_FOUND, after the others.
func (d *DeadLetters) Replay(ctx context.Context, positions ...string) (int, error) {
	panic("not yet")
}

// ReplayAll replays what is there when it is called, oldest first, and says how many.
func (d *DeadLetters) ReplayAll(ctx context.Context) (int, error) { panic("not yet") }

// Discard removes letters for good, and says how many there were.
func (d *DeadLetters) Discard(ctx context.Context, positions ...string) (int, error) {
	panic("not yet")
}

// DiscardAll removes what is there when it is called, and says how many.
func (d *DeadLetters) DiscardAll(ctx context.Context) (int, error) { panic("not yet") }
