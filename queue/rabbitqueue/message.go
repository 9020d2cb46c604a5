package rabbitqueue

import (
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// attributePrefix is that of CloudEvents' AMQP binding, for AMQP 1.0: RabbitMQ turns application properties of such
	// clients into headers, and the other way round.
	attributePrefix = "cloudEvents_"
	// headerCount is how often a message was delivered before it came back over a queue of those that wait.
	headerCount = "holdfast-deliveries"
	// headerPosition is the position of a dead letter.
	headerPosition = "holdfast-position"
	// headerDeliveries is the broker's own: how often a quorum queue delivered it before.
	headerDeliveries = "x-delivery-count"
)

// encode returns m as the broker keeps it: ID, source, type and content type are the properties that AMQP has for these
// (message-id, app-id, type, content-type), where people and tools look for them, and the rest are headers.
func encode(m *driver.Message) amqp.Publishing {
	p := amqp.Publishing{
		Headers: make(amqp.Table, 2+len(m.Attributes)), DeliveryMode: amqp.Persistent, Body: m.Data,
		MessageId: driver.Identity(m.ID), AppId: driver.Identity(m.Source), Type: short(m.Type), ContentType: short(m.ContentType),
	}
	driver.ToHeaders(m, attributePrefix, "", func(name, value string) {
		switch name {
		case attributePrefix + "specversion", attributePrefix + "id", attributePrefix + "source", attributePrefix + "type":
		default:
			p.Headers[name] = value
		}
	})
	return p
}

// short returns s as a property may be.
func short(s string) string { return driver.Cut(strings.ToValidUTF8(s, "\uFFFD"), driver.MaxText) }

// decode is the inverse of encode. It never fails, whoever published, and prefers headers to properties: an AMQP 1.0
// client's CloudEvents have all attributes there.
func decode(d *amqp.Delivery) *driver.Message {
	m := driver.FromHeaders(func(yield func(string, string) bool) {
		for name, v := range d.Headers {
			s, ok := v.(string)
			if ok && !yield(name, s) {
				return
			}
		}
	}, attributePrefix, "")
	for _, p := range [...]struct {
		to       *string
		property string
		bounded  func(string) string
	}{
		{&m.ID, d.MessageId, driver.Identity},
		{&m.Source, d.AppId, driver.Identity},
		{&m.Type, d.Type, short},
		{&m.ContentType, d.ContentType, short},
	} {
		if *p.to == "" {
			*p.to = p.bounded(p.property)
		}
	}
	if m.Time.IsZero() && !d.Timestamp.IsZero() {
		m.Time = d.Timestamp.UTC()
	}
	m.Data = d.Body
	return m
}

// deliveries returns how often a message was delivered, this time included.
func deliveries(headers amqp.Table) int {
	return 1 + number(headers[headerCount]) + number(headers[headerDeliveries])
}

// number reads a header that counts; what is none is 0.
func number(v any) int {
	const most = 1 << 30
	var n int64
	switch x := v.(type) {
	case int64:
		n = x
	case int32:
		n = int64(x)
	case int16:
		n = int64(x)
	case int8:
		n = int64(x)
	case uint8:
		n = int64(x)
	case int:
		n = int64(x)
	}
	return int(min(max(n, 0), most))
}

// positionOf returns the position of a dead letter; one that was put there by hand has that of its queue's beginning.
func positionOf(headers amqp.Table) string {
	s, _ := headers[headerPosition].(string)
	if len(s) > 64 || strings.ContainsAny(s, " \t\r\n") || buriedAt(s).Equal(time.Time{}) {
		return ""
	}
	return s
}
