package kafkaqueue

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// Lag implements driver.Engine. What other processes have in hand counts as waiting.
func (d *Driver) Lag(ctx context.Context, topic, group string) (driver.Lag, error) {
	again := againTopic(topic, group)
	fail := func(err error) (driver.Lag, error) {
		return driver.Lag{}, wrong(ctx, err, "lag of %s for %s", topic, group)
	}
	// Committed comes first: what is settled meanwhile makes the rest larger than it is, never negative.
	committed, err := ask(ctx, d, func(ctx context.Context) (kadm.OffsetResponses, error) {
		return d.admin.FetchOffsetsForTopics(ctx, groupID(topic, group), topic, again)
	})
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return fail(err)
	}
	ends, err := d.ends(ctx, topic, again)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fail(err)
	}
	starts, err := d.starts(ctx, topic, again)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return fail(err)
	}
	var lag driver.Lag
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		at := start.Offset
		if c, ok := committed.Lookup(end.Topic, end.Partition); ok && c.Err == nil && c.At >= 0 {
			at = max(at, c.At)
			spans, _ := decodeSettled(c.At, c.Metadata)
			for _, s := range spans {
				lag.Waiting -= max(0, min(s.end, end.Offset)-max(s.first, at))
			}
		}
		lag.Waiting += max(0, end.Offset-at)
	})
	d.mu.Lock()
	for r := range d.receivers {
		if r.s.Topic == topic && r.s.Group == group {
			r.mu.Lock()
			lag.Unsettled += int64(r.inHand)
			r.mu.Unlock()
		}
	}
	d.mu.Unlock()
	lag.Waiting = max(0, lag.Waiting-lag.Unsettled)
	lag.Dead, err = d.countDead(ctx, topic, group)
	if err != nil {
		return fail(err)
	}
	return lag, nil
}

// ends returns the offsets behind the last messages.
func (d *Driver) ends(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
	return ask(ctx, d, func(ctx context.Context) (kadm.ListedOffsets, error) { return d.admin.ListEndOffsets(ctx, topics...) })
}

// starts returns the offsets of the first messages.
func (d *Driver) starts(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
	return ask(ctx, d, func(ctx context.Context) (kadm.ListedOffsets, error) { return d.admin.ListStartOffsets(ctx, topics...) })
}
