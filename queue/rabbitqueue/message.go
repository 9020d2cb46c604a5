package rabbitqueue

import (
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// attributePrefix is that of CloudEvents' AMQP binding; RabbitMQ shows these headers to AMQP 1.0 clients as application
	// properties.
	attributePrefix = "cloudEvents_"
	// headerCount is how often a message was delivered before it came back over a queue of those that wait.
	headerCount = "holdfast-deliveries"
	// headerPosition is the position of a dead letter.
	headerPosition = "holdfast-position"
	// headerDeliveries is the broker's own: how often a quorum queue delivered it before.
	headerDeliveries = "x-delivery-count"
)

// encode returns m as the broker keeps it. Persistence is the queue's: quorum queues keep everything on disk.
func encode(m *driver.Message) amqp.Publishing {
	p := amqp.Publishing{
		Headers: make(amqp.Table, 8+len(m.Attributes)), ContentType: driver.Cut(strings.ToValidUTF8(m.ContentType, ""), driver.MaxText),
		DeliveryMode: amqp.Persistent, MessageId: driver.Cut(m.ID, driver.MaxText), Body: m.Data,
	}
	if m.Time.Unix() > 0 {
		p.Timestamp = m.Time
	}
	driver.ToHeaders(m, attributePrefix, "", func(name, value string) { p.Headers[name] = value })
	return p
}

// decode is the inverse of encode. It never fails, whoever published.
func decode(d *amqp.Delivery) *driver.Message {
	m := driver.FromHeaders(func(yield func(string, string) bool) {
		for name, v := range d.Headers {
			s, ok := v.(string)
			if ok && !yield(name, s) {
				return
			}
		}
	}, attributePrefix, "")
	if d.ContentType != "" {
		m.ContentType = driver.Cut(strings.ToValidUTF8(d.ContentType, "\uFFFD"), driver.MaxText)
	}
	if m.ID == "" {
		m.ID = driver.Cut(strings.ToValidUTF8(d.MessageId, "\uFFFD"), driver.MaxText)
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
