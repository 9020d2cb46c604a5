package orders

import (
	"context"

	"github.com/holdfast-go/holdfast/examples/shop/internal/events"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/outbox"
	"github.com/holdfast-go/holdfast/replica"
)

// Outbox is the Book's outbox for the relay that publishes what lies in it. An event got there by the same command that
// changed its order, so there is never one without the other, whoever dies when. It is bounded as the book itself is,
// by memory: an order leaves three events there at most, until the queue is back.
//
// It is read from this instance's own copy, without asking the others: the relay runs where the group's leader is. One that
// has lost that and does not know yet publishes once more, with the same ids, what the next one does.
type Outbox struct {
	group Group
}

// NewOutbox returns the outbox of group.
func NewOutbox(group Group) *Outbox { return &Outbox{group} }

// Pending implements outbox.Store.
func (o *Outbox) Pending(ctx context.Context, q outbox.Query) (found []outbox.Event, err error) {
	err = o.group.Read(ctx, replica.Eventual, func(b *Book) error {
		found = b.unsent(q)
		return nil
	})
	return found, err
}

// Done implements outbox.Store.
func (o *Outbox) Done(ctx context.Context, seqs []uint64) error {
	_, err := o.group.Propose(ctx, Command{Format: format, Op: Sent, Sent: seqs})
	return err
}

// Wait implements outbox.Store.
func (o *Outbox) Wait(ctx context.Context) error {
	var more <-chan struct{}
	if err := o.group.Read(ctx, replica.Eventual, func(b *Book) error {
		more = b.more()
		return nil
	}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-more:
		return nil
	}
}

// unsent returns the events that q asks for, in the order in which they happened. While the queue is away it goes over all
// that waits for each order that is added, so it makes nothing of what is skipped.
func (b *Book) unsent(q outbox.Query) (found []outbox.Event) {
	b.mu.RLock()
	last, size, all := b.last, 0, true
	look := outbox.Event{Message: new(driver.Message)}
	b.outbox.Scan(func(seq uint64, e *events.Event) bool {
		look.Seq, look.Topic, look.Message.Key = seq, e.Topic, e.Key
		if q.Skip.Has(&look) {
			return true
		}
		found = append(found, outbox.Event{Seq: seq, Topic: e.Topic, Message: e.Message(events.Orders), Added: e.Time})
		size += len(e.Data)
		all = len(found) < q.Limit && (q.MaxBytes <= 0 || size < q.MaxBytes)
		return all
	})
	b.mu.RUnlock()
	if all {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.known = last
	}
	return found
}

// more is closed when there are events that unsent did not know of.
func (b *Book) more() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last > b.known {
		none := make(chan struct{})
		close(none)
		return none
	}
	if b.grown == nil {
		b.grown = make(chan struct{})
	}
	return b.grown
}

// grow tells those who wait for it. b.mu is held.
func (b *Book) grow() {
	if b.grown != nil {
		close(b.grown)
		b.grown = nil
	}
}
