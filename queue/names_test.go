package queue_test

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue"
	"github.com/holdfast-go/holdfast/queue/driver"
)

// TestValidate: what Validate refuses is what PublishMessages refuses, so that who keeps messages can refuse it earlier.
func TestValidate(t *testing.T) {
	w := newWorld(t)
	w.declare("orders", "g")
	long := strings.Repeat("a", driver.MaxText+1)
	for name, change := range map[string]func(*driver.Message){
		"nothing wrong":   func(*driver.Message) {},
		"no ID":           func(m *driver.Message) { m.ID = "" },
		"no source":       func(m *driver.Message) { m.Source = "" },
		"a long ID":       func(m *driver.Message) { m.ID = long },
		"a long key":      func(m *driver.Message) { m.Key = strings.Repeat("a", driver.MaxKey+1) },
		"not UTF-8":       func(m *driver.Message) { m.Key = "\xff" },
		"a year too far":  func(m *driver.Message) { m.Time = time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"a bad attribute": func(m *driver.Message) { m.Attributes = map[string]string{"Not A Name": ""} },
	} {
		m := &driver.Message{ID: "1", Source: "s", Time: time.Unix(0, 0)}
		change(m)
		err := queue.Validate(m)
		if (err == nil) != (name == "nothing wrong") {
			t.Errorf("%s: %v", name, err)
		}
		errs := w.q.PublishMessages(t.Context(), "orders", []*driver.Message{m})
		if refused := errs != nil && failure.CodeOf(errs[0]) == failure.InvalidArgument; refused != (err != nil) {
			t.Errorf("%s: Validate says %v, PublishMessages %v", name, err, errs)
		}
	}
	if queue.Validate(nil) == nil {
		t.Error("no message is a message")
	}
}
