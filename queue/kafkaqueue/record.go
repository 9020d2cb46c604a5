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

// writer makes the headers of records. Those of all of them are in one array, and their texts in another, which are used
// again: clear it when nobody needs them any more. It is for one goroutine.
type writer struct {
	headers []kgo.RecordHeader
	texts   []byte
	set     func(name, value string)
}

// write returns the headers of m, and extra ones.
func (w *writer) write(m *driver.Message, extra []kgo.RecordHeader) []kgo.RecordHeader {
	if w.set == nil {
		w.set = func(name, value string) {
			w.headers = append(w.headers, kgo.RecordHeader{Key: name, Value: w.bytes(value)})
		}
	}
	at := len(w.headers)
	driver.ToHeaders(m, prefix, contentType, w.set)
	w.headers = append(w.headers, extra...)
	return w.headers[at:len(w.headers):len(w.headers)]
}

// bytes returns s.
func (w *writer) bytes(s string) []byte {
	at := len(w.texts)
	w.texts = append(w.texts, s...)
	return w.texts[at:len(w.texts):len(w.texts)]
}

// maxWritten is the most bytes of texts that are kept to be used again.
const maxWritten = 64 << 10

func (w *writer) clear() {
	clear(w.headers)
	w.headers, w.texts = w.headers[:0], w.texts[:0]
	if cap(w.texts) > maxWritten {
		w.texts = nil
	}
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

// message returns what a record has. Without a partition key among its attributes its key is the record's.
func (c *reader) message(r *kgo.Record) *driver.Message {
	m := c.letter(r)
	if m.Key == "" {
		m.Key = driver.Cut(strings.ToValidUTF8(string(r.Key), "\uFFFD"), driver.MaxKey)
	}
	return m
}

// letter returns what a record has that was buried, whose own key is none of the message. One of somebody who knows nothing of
// CloudEvents is known by its place, and by its time: a topic that is created anew begins with the same offsets.
func (c *reader) letter(r *kgo.Record) *driver.Message {
	m := driver.FromHeaders(func(yield func(string, string) bool) {
		for _, h := range r.Headers {
			if !yield(h.Key, c.text(h.Key, h.Value)) {
				return
			}
		}
	}, prefix, contentType)
	if m.ID == "" {
		m.ID = r.Topic + "/" + strconv.Itoa(int(r.Partition)) + "/" + strconv.FormatInt(r.Offset, 10) +
			"/" + strconv.FormatInt(r.Timestamp.UnixMilli(), 10)
		m.Source = "kafka:" + r.Topic
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
