package rabbitqueue

import (
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// attributePrefix is that of CloudEvents' AMQP binding, for AMQP 1.0: RabbitMQ turns application properties of such
	// clients into headers, and the other way round.
	attributePrefix = "cloudEvents_"
	// otherSeparator is what the binding permits in place of the '_', for those who can have it in names.
	otherSeparator = ':'
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
		for header, v := range d.Headers {
			name := attributeOf(header)
			if name == "" {
				continue
			}
			if _, both := d.Headers[name]; both && name != header {
				continue
			}
			if s, ok := textOf(v); ok && !yield(name, s) {
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

// attributeOf returns what encode calls the header of an attribute, "" if it is none. It is the header itself unless that has the
// other separator.
func attributeOf(header string) string {
	const n = len(attributePrefix) - 1
	if len(header) <= n || !strings.EqualFold(header[:n], attributePrefix[:n]) {
		return ""
	}
	switch header[n] {
	case attributePrefix[n]:
		return header
	case otherSeparator:
		return attributePrefix + header[n+1:]
	}
	return ""
}

// textOf returns the value of an attribute as CloudEvents writes it, if it is of one of its types that AMQP has, too.
func textOf(v any) (string, bool) {
	switch x := v.(type) {
	case string:
		return x, true
	case bool:
		return strconv.FormatBool(x), true
	case time.Time:
		return x.UTC().Format(time.RFC3339Nano), true
	case int64:
		return strconv.FormatInt(x, 10), true
	case int32:
		return strconv.FormatInt(int64(x), 10), true
	case int16:
		return strconv.FormatInt(int64(x), 10), true
	case int8:
		return strconv.FormatInt(int64(x), 10), true
	case uint32:
		return strconv.FormatUint(uint64(x), 10), true
	case uint16:
		return strconv.FormatUint(uint64(x), 10), true
	case uint8:
		return strconv.FormatUint(uint64(x), 10), true
	}
	return "", false
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
