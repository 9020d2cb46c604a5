package natsqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// maxDeadPage bounds one call of Dead.
	maxDeadPage = 1000
	// letterSpare is what else a server counts of a message beside its headers and its data.
	letterSpare = 1 << 10
)

// Bury implements driver.Engine.
func (e *Engine) Bury(ctx context.Context, topic, group string, m *driver.Message) error {
	if err := e.link.get(ctx); err != nil {
		return err
	}
	err := func() error {
		out := e.letter(topic, group, m)
		if err := e.roomForDead(ctx, topic, group); err != nil {
			return err
		}
		err := e.sendOne(ctx, out)
		if errors.Is(err, driver.ErrTooLarge) {
			// It came from elsewhere, and was as large as a message can be without what a letter says beside it. Cut is
			// better than handled for ever.
			room := int(e.link.conn.MaxPayload()) - (out.Size() - len(out.Data)) - letterSpare
			out = e.letter(topic, group, driver.CutTo(m, room))
			err = e.sendOne(ctx, out)
		}
		if !errors.Is(err, errNoStream) {
			return err
		}
		if err := e.makeDead(ctx); err != nil {
			return err
		}
		return e.sendOne(ctx, out)
	}()
	if err = translate(err); err != nil {
		return fmt.Errorf("bury in %s of %s: %w", group, topic, err)
	}
	return nil
}

func (e *Engine) letter(topic, group string, m *driver.Message) *nats.Msg {
	out := encode(m)
	out.Subject = e.names.letters(topic, group)
	out.Header[headerID] = []string{cryptoText()} // the same letter can be replayed and buried again
	return out
}

// roomForDead refuses a letter of a group that has more than its share of what there is for those of all: it may have as
// much as is free, so that however many there are already, there is room for another group's. The server counts bytes for
// all of them only; a group's are about its part of the letters.
func (e *Engine) roomForDead(ctx context.Context, topic, group string) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	s, err := e.link.js.Stream(ctx, e.names.dead())
	if err != nil {
		return nil // burying says what is wrong
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(e.names.letters(topic, group)))
	if err != nil || info.Config.MaxBytes <= 0 || info.State.Msgs == 0 {
		return nil
	}
	if shareTaken(info.State.Subjects[e.names.letters(topic, group)], info.State.Msgs, info.State.Bytes, uint64(info.Config.MaxBytes)) {
		return fmt.Errorf("%w: the group's dead letters take more of the %d bytes for those of all groups than are left: replay or discard some",
			driver.ErrFull, info.Config.MaxBytes)
	}
	return nil
}

// shareTaken reports whether a group with mine of all letters, which take so many bytes, has more than there are free.
func shareTaken(mine, all, bytes, most uint64) bool {
	return float64(mine)/float64(all)*float64(bytes) > float64(most)-float64(bytes)
}

func (e *Engine) makeDead(ctx context.Context) error {
	_, err := e.makeStream(ctx, jetstream.StreamConfig{
		Name: e.names.dead(), Subjects: []string{e.names.prefix + ".d.*.*"}, Description: "Dead letters",
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: e.cfg.Replicas,
		Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgsPerSubject: maxDead, MaxBytes: e.cfg.MaxBytes,
	})
	return err
}

// Dead implements driver.Engine. A position is the number of the letter in the stream.
func (e *Engine) Dead(ctx context.Context, topic, group, after string, limit int) ([]driver.Dead, error) {
	from := uint64(0)
	if after != "" {
		var err error
		if from, err = strconv.ParseUint(after, 10, 64); err != nil {
			return nil, fmt.Errorf("dead letters of %s of %s: %w: %.40q is no position", group, topic, driver.ErrRefused, after)
		}
	}
	var page []driver.Dead // goes on where it was
	out, err := admin(ctx, e, nil, func(ctx context.Context) ([]driver.Dead, error) {
		s, err := e.link.js.Stream(ctx, e.names.dead())
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return page, nil
		}
		if err != nil {
			return nil, err
		}
		subject := e.names.letters(topic, group)
		for len(page) < min(limit, maxDeadPage) {
			m, err := s.GetMsg(ctx, from+1, jetstream.WithGetMsgSubject(subject))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return page, nil
			}
			if err != nil {
				return nil, err
			}
			from = m.Sequence
			page = append(page, driver.Dead{Position: formatSeq(m.Sequence), Buried: m.Time, Message: decode(m.Header, m.Data)})
		}
		return page, nil
	})
	if err != nil {
		return nil, fmt.Errorf("dead letters of %s of %s: %w", group, topic, err)
	}
	return out, nil
}

// Exhume implements driver.Engine.
func (e *Engine) Exhume(ctx context.Context, topic, group string, positions []string) (int, error) {
	var n atomic.Int64
	_, err := admin(ctx, e, nil, func(ctx context.Context) (none struct{}, err error) {
		s, err := e.link.js.Stream(ctx, e.names.dead())
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return none, nil
		}
		if err != nil {
			return none, err
		}
		for _, p := range positions {
			seq, err := strconv.ParseUint(p, 10, 64)
			if err != nil || seq == 0 {
				continue // there is none
			}
			m, err := s.GetMsg(ctx, seq)
			if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Subject != e.names.letters(topic, group) {
				continue
			}
			if err != nil {
				return none, err
			}
			switch err := s.DeleteMsg(ctx, seq); {
			case err == nil:
				n.Add(1)
			case errors.Is(err, jetstream.ErrMsgNotFound):
			default:
				return none, err
			}
		}
		return none, nil
	})
	if err != nil {
		return int(n.Load()), fmt.Errorf("exhume from %s of %s: %w", group, topic, err)
	}
	return int(n.Load()), nil
}

// deadOf counts the dead letters of a group.
func (e *Engine) deadOf(ctx context.Context, topic, group string) (int64, error) {
	s, err := e.link.js.Stream(ctx, e.names.dead())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	subject := e.names.letters(topic, group)
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0, err
	}
	return int64(info.State.Subjects[subject]), nil //nolint:gosec // at most maxDead
}

// Groups implements driver.Engine.
func (e *Engine) Groups(ctx context.Context) ([]driver.Group, error) {
	out, err := admin(ctx, e, nil, func(ctx context.Context) (out []driver.Group, err error) {
		streams := e.link.js.ListStreams(ctx, jetstream.WithStreamListSubject(e.names.prefix+".t.>"))
		for info := range streams.Info() {
			topic := info.Config.Metadata[metaTopic]
			if topic == "" || e.names.stream(topic) != info.Config.Name {
				continue
			}
			s, err := e.link.js.Stream(ctx, info.Config.Name)
			if err != nil {
				return nil, err
			}
			consumers := s.ListConsumers(ctx)
			for c := range consumers.Info() {
				if c.Config.Durable != "" {
					out = append(out, driver.Group{Topic: topic, Group: unescape(c.Config.Durable)})
				}
			}
			if err := consumers.Err(); err != nil {
				return nil, err
			}
		}
		if err := streams.Err(); err != nil {
			return nil, err
		}
		ordered, err := e.orderedGroups(ctx)
		return append(out, ordered...), err
	})
	if err != nil {
		return nil, fmt.Errorf("groups: %w", err)
	}
	slices.SortFunc(out, func(a, b driver.Group) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return strings.Compare(a.Group, b.Group)
	})
	return slices.Compact(out), nil
}
