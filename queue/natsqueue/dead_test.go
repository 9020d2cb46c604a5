package natsqueue_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/natsqueue"
)

// What somebody else has published may be as large as the server takes; with what a dead letter says beside it it would be
// larger, and is cut rather than handled for ever.
func TestALetterThatIsTooLargeIsCut(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	e := open(t, nil, s.cfg.ClientAddr)
	ctx := soon(t)
	check(t, e.Declare(ctx, driver.Topic{Name: "t", Groups: []string{"g"}}))
	other := s.dial()
	large := int(other.MaxPayload())
	check(t, other.Publish("holdfast.t.t.0", []byte(strings.Repeat("x", large))))
	r, err := e.Subscribe(ctx, driver.Subscription{Topic: "t", Group: "g", Instance: "one", Window: 1})
	check(t, err)
	m := *receive(t, r, 1)[0].Message
	if len(m.Data) != large {
		t.Fatalf("%d bytes came", len(m.Data))
	}
	m.Attributes = map[string]string{"why": strings.Repeat("y", 1000)}
	check(t, e.Bury(ctx, "t", "g", &m))
	dead, err := e.Dead(ctx, "t", "g", "", 10)
	check(t, err)
	if len(dead) != 1 {
		t.Fatalf("%d letters", len(dead))
	}
	got := dead[0].Message
	if n := len(got.Data); n < large-8<<10 || got.Attributes["holdfastcutfrom"] != strconv.Itoa(large) || len(got.Attributes["why"]) != 1000 {
		t.Errorf("the letter has %d bytes and says %.100q", n, got.Attributes)
	}
	if len(m.Data) != large || len(m.Attributes) != 1 {
		t.Error("the message itself was changed")
	}
}

// A group with many dead letters leaves room for those of others.
func TestDeadLettersLeaveRoomForOtherGroups(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	e := open(t, func(c *natsqueue.Config) { c.MaxBytes = 1 << 20 }, s.cfg.ClientAddr)
	ctx := soon(t)
	buried := make(map[string]int)
	for _, group := range []string{"first", "second", "third"} {
		for {
			m := text(buried[group])
			m.Data = make([]byte, 20<<10)
			err := e.Bury(ctx, "t", group, m)
			if errors.Is(err, driver.ErrFull) {
				break
			}
			check(t, err)
			buried[group]++
		}
	}
	if a, b, c := buried["first"], buried["second"], buried["third"]; a > 30 || b < 10 || c < 5 {
		t.Errorf("%v were buried", buried)
	}
}

// What somebody else has published, and is larger than what we send, can come back from the dead letters.
func TestALargeLetterCanBeReplayed(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	e := open(t, nil, s.cfg.ClientAddr)
	ctx := soon(t)
	check(t, e.Declare(ctx, driver.Topic{Name: "t", Groups: []string{"g"}}))
	m := &driver.Message{Source: "other", ID: "large", Data: make([]byte, 1000<<10)}
	if errs := e.Publish(ctx, "t", []*driver.Message{m}); errs == nil || !errors.Is(errs[0], driver.ErrTooLarge) {
		t.Errorf("published: %v", errs)
	}
	check(t, errors.Join(e.PublishTo(ctx, "t", "g", []*driver.Message{m})...))
	other := s.dial()
	m.Data = make([]byte, other.MaxPayload())
	if errs := e.PublishTo(ctx, "t", "g", []*driver.Message{m}); errs == nil || !errors.Is(errs[0], driver.ErrTooLarge) {
		t.Errorf("more than the server takes: %v", errs)
	}
}
