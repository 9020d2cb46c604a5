package natsqueue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// Lag implements driver.Engine.
func (e *Engine) Lag(ctx context.Context, name, group string) (driver.Lag, error) {
	lag, err := admin(ctx, e, nil, func(ctx context.Context) (lag driver.Lag, err error) {
		t, err := e.topic(ctx, name)
		if err != nil {
			return lag, err
		}
		if lag.Dead, err = e.deadOf(ctx, name, group); err != nil {
			return lag, err
		}
		c, err := e.link.js.Consumer(ctx, e.names.stream(name), e.names.consumer(group))
		if err == nil {
			info := c.CachedInfo()
			lag.Waiting, lag.Unsettled = int64(info.NumPending), int64(info.NumAckPending) //nolint:gosec // counts
			return lag, nil
		}
		if !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return lag, err
		}
		records, err := e.readLanes(ctx, t, group)
		if err != nil {
			return lag, err
		}
		for n, r := range records {
			pending, err := e.pending(ctx, t, group, n, r.Floor)
			if err != nil {
				return lag, err
			}
			lag.Waiting += max(0, pending-int64(len(r.Above)))
		}
		return lag, nil
	})
	if err != nil {
		return driver.Lag{}, fmt.Errorf("lag of %s of %s: %w", group, name, err)
	}
	return lag, nil
}

// pending counts the messages of a lane after one, by a consumer that nobody pulls from.
func (e *Engine) pending(ctx context.Context, t *topic, group string, lane int, after uint64) (int64, error) {
	c, err := e.link.js.CreateConsumer(ctx, e.names.stream(t.name), e.laneConsumer(t, group, lane, after, time.Second))
	if err != nil {
		return 0, err
	}
	info := c.CachedInfo()
	_ = e.link.js.DeleteConsumer(ctx, e.names.stream(t.name), info.Name) // or it goes by itself
	return int64(info.NumPending), nil                                   //nolint:gosec // a count
}

// laneReader begins the names of consumers that are no group's: no group's name has it.
const laneReader = "~"

// laneConsumer reads a lane of a group from the message after one on. The server keeps nothing of it that would matter.
func (e *Engine) laneConsumer(t *topic, group string, lane int, after uint64, idle time.Duration) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Name:           laneReader + cryptoText(),
		FilterSubjects: []string{e.names.all(t.name, lane), e.names.to(t.name, group, lane)},
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1,
		AckPolicy: jetstream.AckNonePolicy, ReplayPolicy: jetstream.ReplayInstantPolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: idle,
	}
}

// makeRoom removes the older half of a topic that is full, as far as every group has settled it.
func (e *Engine) makeRoom(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	t, err := e.topic(ctx, name)
	if err != nil {
		return err
	}
	s, err := e.link.js.Stream(ctx, e.names.stream(name))
	if err != nil {
		return err
	}
	info := s.CachedInfo()
	state := info.State
	if state.Bytes < uint64(max(info.Config.MaxBytes, 0))*3/4 { // somebody else has made room
		return nil
	}
	upTo := state.FirstSeq + (state.LastSeq-state.FirstSeq)/2
	// Each by itself: a list of them leaves out those that do not answer.
	consumers := s.ConsumerNames(ctx)
	for name := range consumers.Name() {
		if strings.HasPrefix(name, laneReader) {
			continue
		}
		c, err := s.Consumer(ctx, name)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			continue // it has just gone
		}
		if err != nil {
			return fmt.Errorf("group %s: %w", unescape(name), err)
		}
		info := c.CachedInfo()
		if info.Config.Durable == "" {
			continue
		}
		if info.NumPending > 0 || info.NumAckPending > 0 { // what is between its messages does not matter
			upTo = min(upTo, info.AckFloor.Stream)
		}
	}
	if err := consumers.Err(); err != nil {
		return err
	}
	ordered, err := e.orderedGroups(ctx)
	if err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, g := range ordered {
		if g.Topic != name || seen[g.Group] {
			continue
		}
		seen[g.Group] = true
		records, err := e.readLanes(ctx, t, g.Group)
		if err != nil {
			return err
		}
		if upTo, err = e.settledUpTo(ctx, t, g.Group, records, upTo); err != nil {
			return err
		}
	}
	if upTo < state.FirstSeq {
		return nil
	}
	return s.Purge(ctx, jetstream.WithPurgeSequence(upTo+1))
}

// settledUpTo returns up to where all lanes of a group are settled, at most a number that the stream had before: to before
// the first message that is not. A lane that has none after its floor does not hold it down.
func (e *Engine) settledUpTo(ctx context.Context, t *topic, group string, records laneRecords, most uint64) (uint64, error) {
	s, err := e.link.js.Stream(ctx, e.names.stream(t.name))
	if err != nil {
		return 0, err
	}
	for n, r := range records {
		above := r.above()
		for _, subject := range []string{e.names.all(t.name, n), e.names.to(t.name, group, n)} {
			for seq := r.Floor; seq < most; {
				m, err := s.GetMsg(ctx, seq+1, jetstream.WithGetMsgSubject(subject))
				if errors.Is(err, jetstream.ErrMsgNotFound) {
					break
				}
				if err != nil {
					return 0, err
				}
				if seq = m.Sequence; !above[seq] {
					most = min(most, seq-1)
				}
			}
		}
	}
	return most, nil
}
