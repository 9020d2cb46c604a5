package rabbitqueue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/internal/backoff"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// Groups implements driver.Engine, by the index: groups are never taken out of it.
func (e *Engine) Groups(ctx context.Context) ([]driver.Group, error) {
	seen := make(map[driver.Group]bool)
	err := e.look(ctx, e.names.index(), reach, func(d *amqp.Delivery) (take, more bool) {
		g, ok := decodeGroup(d.Body)
		if !ok || seen[g] {
			return true, true // two were first at the same time, or it is nothing of ours
		}
		seen[g] = true
		return false, true
	})
	if err != nil {
		return nil, fmt.Errorf("groups: %w", err)
	}
	out := make([]driver.Group, 0, len(seen))
	for g := range seen {
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b driver.Group) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Group, b.Group))
	})
	return out, nil
}

// enlist adds a group to the index.
func (e *Engine) enlist(ctx context.Context, a *asker, topic, group string) error {
	created, err := a.quorum(e.names.index(), 0, nil)
	if err != nil {
		return err
	}
	if created && !backoff.Pause(ctx, settling) {
		return ctx.Err()
	}
	entry := &driver.Message{
		ID: topic + " " + group, Type: "holdfast.group", ContentType: "text/plain", Data: []byte(topic + " " + group),
	}
	for end := time.Now().Add(settling); ; {
		errs := e.send(ctx, target{group: group, key: e.names.index()}, []*driver.Message{entry})
		switch {
		case errs == nil:
			return nil
		case !errors.Is(errs[0], driver.ErrFull) || time.Now().After(end): // somebody else is just making it
			return fmt.Errorf("index: %w", errs[0])
		case !backoff.Pause(ctx, settling/10):
			return ctx.Err()
		}
	}
}

// decodeGroup reads an entry of the index.
func decodeGroup(b []byte) (driver.Group, bool) {
	if len(b) > 2*maxName+1 {
		return driver.Group{}, false
	}
	topic, group, ok := strings.Cut(string(b), " ")
	if !ok || !plainName(topic) || !plainName(group) || len(topic) > maxName || len(group) > maxName {
		return driver.Group{}, false
	}
	return driver.Group{Topic: topic, Group: group}, true
}

// maxName is the most bytes of the name of a topic or a group.
const maxName = 100
