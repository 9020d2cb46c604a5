package kafkaqueue

import (
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	// prefix and contentType are those of CloudEvents' binding for Kafka, binary mode.
	prefix      = "ce_"
	contentType = "content-type"
	// dueHeader is when a message that was returned is to be delivered, in milliseconds since 1970.
	dueHeader = "holdfast-due"

	maxInterned = 256
)

// headers appends those of m.
func headers(to []kgo.RecordHeader, m *driver.Message) []kgo.RecordHeader {
	driver.ToHeaders(m, prefix, contentType, func(name, value string) {
		to = append(to, kgo.RecordHeader{Key: name, Value: []byte(value)})
	})
	return to
}

// reader makes messages of records. It keeps the texts that most messages share, so that each is one string. It is for one
// goroutine.
type reader struct{ texts map[string]string }

func (c *reader) text(name string, value []byte) string {
	switch name {
	case prefix + "specversion", prefix + "source", prefix + "type", contentType:
		if s, ok := c.texts[string(value)]; ok {
			return s
		}
		if len(value) > driver.MaxText {
			break
		}
		if c.texts == nil || len(c.texts) >= maxInterned {
			c.texts = make(map[string]string)
		}
		s := string(value)
		c.texts[s] = s
		return s
	}
	return string(value)
}

// message returns what a record has. One of somebody who knows nothing of CloudEvents is known by its place.
func (c *reader) message(r *kgo.Record) *driver.Message {
	m := driver.FromHeaders(func(yield func(string, string) bool) {
		for _, h := range r.Headers {
			if !yield(h.Key, c.text(h.Key, h.Value)) {
				return
			}
		}
	}, prefix, contentType)
	if m.ID == "" {
		m.ID = r.Topic + "/" + strconv.Itoa(int(r.Partition)) + "/" + strconv.FormatInt(r.Offset, 10)
		m.Source = "kafka:" + r.Topic
		m.Key = driver.Cut(strings.ToValidUTF8(string(r.Key), "\uFFFD"), driver.MaxKey)
		m.Time = r.Timestamp.UTC()
	}
	m.Data = r.Value
	return m
}

// due returns when a record is to be delivered, zero for at once.
func due(r *kgo.Record) time.Time {
	for _, h := range r.Headers {
		if h.Key == dueHeader {
			if ms, err := strconv.ParseInt(string(h.Value), 10, 64); err == nil && ms > 0 && ms < 1<<48 {
				return time.UnixMilli(ms)
			}
		}
	}
	return time.Time{}
}
