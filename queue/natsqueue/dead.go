package natsqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// maxDeadPage bounds one call of Dead.
const maxDeadPage = 1000

// Bury implements driver.Engine.
func (e *Engine) Bury(ctx context.Context, topic, group string, m *driver.Message) error {
	if err := e.link.get(ctx); err != nil {
		return err
	}
	err := func() error {
		if len(m.Data) > maxMessage {
			return driver.ErrTooLarge
		}
		out := encode(m)
		out.Subject = e.names.letters(topic, group)
		out.Header[headerID] = []string{cryptoText()} // the same letter can be replayed and buried again
		err := e.sendOne(ctx, out)
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

func (e *Engine) makeDead(ctx context.Context) error {
	_, err := e.makeStream(ctx, jetstream.StreamConfig{
		Name: e.names.dead(), Subjects: []string{e.names.prefix + ".d.*.*"}, Description: "Dead letters",
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: e.cfg.Replicas,
		Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgsPerSubject: maxDead, MaxBytes: e.cfg.MaxBytes,
	})
	return err
}

// Dead implements driver.Engine. A position is the number of the letter in the stream.
func (e *Engine) Dead(ctx context.Context, topic, group, after string, limit int) (out []driver.Dead, err error) {
	from := uint64(0)
	if after != "" {
		if from, err = strconv.ParseUint(after, 10, 64); err != nil {
			return nil, fmt.Errorf("dead letters of %s of %s: %w: %.40q is no position", group, topic, driver.ErrRefused, after)
		}
	}
	err = e.admin(ctx, func(ctx context.Context) error {
		s, err := e.link.js.Stream(ctx, e.names.dead())
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		subject := e.names.letters(topic, group)
		for len(out) < min(limit, maxDeadPage) {
			m, err := s.GetMsg(ctx, from+1, jetstream.WithGetMsgSubject(subject))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			from = m.Sequence
			out = append(out, driver.Dead{Position: formatSeq(m.Sequence), Buried: m.Time, Message: decode(m.Header, m.Data)})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("dead letters of %s of %s: %w", group, topic, err)
	}
	return out, nil
}

// Exhume implements driver.Engine.
func (e *Engine) Exhume(ctx context.Context, topic, group string, positions []string) (n int, err error) {
	err = e.admin(ctx, func(ctx context.Context) error {
		s, err := e.link.js.Stream(ctx, e.names.dead())
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		if err != nil {
			return err
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
				return err
			}
			switch err := s.DeleteMsg(ctx, seq); {
			case err == nil:
				n++
			case errors.Is(err, jetstream.ErrMsgNotFound):
			default:
				return err
			}
		}
		return nil
	})
	if err != nil {
		return n, fmt.Errorf("exhume from %s of %s: %w", group, topic, err)
	}
	return n, nil
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
func (e *Engine) Groups(ctx context.Context) (out []driver.Group, err error) {
	err = e.admin(ctx, func(ctx context.Context) error {
		out = nil
		streams := e.link.js.ListStreams(ctx, jetstream.WithStreamListSubject(e.names.prefix+".t.>"))
		for info := range streams.Info() {
			topic := info.Config.Metadata[metaTopic]
			if topic == "" || e.names.stream(topic) != info.Config.Name {
				continue
			}
			s, err := e.link.js.Stream(ctx, info.Config.Name)
			if err != nil {
				return err
			}
			consumers := s.ListConsumers(ctx)
			for c := range consumers.Info() {
				if c.Config.Durable != "" {
					out = append(out, driver.Group{Topic: topic, Group: unescape(c.Config.Durable)})
				}
			}
			if err := consumers.Err(); err != nil {
				return err
			}
		}
		if err := streams.Err(); err != nil {
			return err
		}
		ordered, err := e.orderedGroups(ctx)
		out = append(out, ordered...)
		return err
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
