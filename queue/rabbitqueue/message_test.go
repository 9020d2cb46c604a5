package rabbitqueue

import (
	"maps"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"
	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// delivered is what comes of what is published.
func delivered(p amqp.Publishing) *amqp.Delivery {
	return &amqp.Delivery{
		Headers: p.Headers, ContentType: p.ContentType, MessageId: p.MessageId, AppId: p.AppId, Type: p.Type,
		Timestamp: p.Timestamp, Body: p.Body,
	}
}

func TestMessagesComeAsTheyWent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(label string, most int) string {
			return driver.Cut(rapid.String().Draw(t, label), most)
		}
		m := &driver.Message{
			ID: text("id", driver.MaxText), Source: text("source", driver.MaxText), Type: text("type", driver.MaxText),
			Key: text("key", driver.MaxKey), ContentType: text("content type", driver.MaxText),
			Data: rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
		}
		if rapid.Bool().Draw(t, "timed") {
			m.Time = time.Unix(rapid.Int64Range(0, 1<<34).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
		}
		m.Attributes = rapid.MapOfN(rapid.StringMatching(`x[a-z0-9]{0,30}`), rapid.String(), 0, 10).Draw(t, "attributes")
		p := encode(m)
		for _, s := range []string{p.MessageId, p.AppId, p.Type, p.ContentType} {
			if len(s) > 255 {
				t.Fatalf("a property of %d bytes ends the connection", len(s))
			}
		}
		got := decode(delivered(p))
		if got.ID != m.ID || got.Source != m.Source || got.Type != m.Type || got.Key != m.Key || got.ContentType != m.ContentType ||
			!got.Time.Equal(m.Time) || string(got.Data) != string(m.Data) || !maps.Equal(got.Attributes, m.Attributes) {
			t.Fatalf("sent %+v, got %+v", m, got)
		}
	})
}

// TestOthersMessages: what an AMQP 1.0 client publishes as CloudEvents, and what somebody publishes who knows nothing of
// them.
func TestOthersMessages(t *testing.T) {
	m := decode(&amqp.Delivery{
		Headers: amqp.Table{
			"cloudEvents_id": "7", "cloudEvents_source": "s", "cloudEvents_type": "t", "cloudEvents_time": "2031-02-03T04:05:06Z",
			"x-death": []any{amqp.Table{"count": int64(1)}}, "n": int32(5),
		},
		MessageId: "other", Body: []byte("b"),
	})
	if m.ID != "7" || m.Source != "s" || m.Type != "t" || m.Time.Year() != 2031 || len(m.Attributes) != 0 {
		t.Errorf("got %+v", m)
	}
	at := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	m = decode(&amqp.Delivery{MessageId: "id", ContentType: "text/plain", Timestamp: at, Type: "t"})
	if m.ID != "id" || m.ContentType != "text/plain" || m.Type != "t" || !m.Time.Equal(at) || m.Source != "" {
		t.Errorf("got %+v", m)
	}
}

// TestOthersSeparators: CloudEvents' AMQP binding permits ':' as well as '_' in the names, and values that are no text.
func TestOthersSeparators(t *testing.T) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	want := driver.Message{ID: "7", Source: "s", Type: "t", Key: "k", ContentType: "text/plain", Time: at}
	want.Attributes = map[string]string{
		"small": "-5", "sequence": "5", "large": "-9223372036854775808", "byte": "255", "short": "-300", "word": "65535", "dword": "4294967295",
		"sampled": "true", "dry": "false", "expires": "2031-02-03T04:05:06Z",
	}
	for _, prefix := range []string{"cloudEvents_", "cloudEvents:", "cloudevents:"} {
		m := decode(&amqp.Delivery{Headers: amqp.Table{
			prefix + "id": "7", prefix + "source": "s", prefix + "type": "t", prefix + "specversion": "1.0", prefix + "partitionkey": "k",
			prefix + "datacontenttype": "text/plain", prefix + "time": at.Local(),
			prefix + "small": int8(-5), prefix + "sequence": int32(5), prefix + "large": int64(math.MinInt64), prefix + "byte": uint8(255),
			prefix + "short": int16(-300), prefix + "word": uint16(65535), prefix + "dword": uint32(math.MaxUint32),
			prefix + "sampled": true, prefix + "dry": false, prefix + "expires": at.Local(),
			prefix + "table": amqp.Table{"a": "b"}, prefix + "list": []any{"a"}, prefix + "nothing": nil,
			"other": int32(5), "cloudEvents": "x", "cloudEvents-y": "x", prefix: "x",
		}})
		if !reflect.DeepEqual(*m, want) {
			t.Errorf("%s: got %+v", prefix, m)
		}
	}
	for range 100 { // headers come in any order
		m := decode(&amqp.Delivery{Headers: amqp.Table{"cloudEvents:id": "theirs", "cloudEvents_id": "ours"}})
		if m.ID != "ours" {
			t.Fatalf("of two IDs it has %q", m.ID)
		}
	}
	for _, name := range []string{"cloudEvents_id", "cloudEvents:id"} { // numbers and times are IDs like others
		if m := decode(&amqp.Delivery{Headers: amqp.Table{name: int64(8)}, MessageId: "other"}); m.ID != "8" {
			t.Errorf("%s: the ID is %q", name, m.ID)
		}
	}
	m := decode(&amqp.Delivery{Headers: amqp.Table{"cloudEvents:time": time.Unix(math.MaxInt64, 0)}, Timestamp: at})
	if !m.Time.Equal(at) {
		t.Errorf("a time that is none is %v", m.Time)
	}
}

// TestOthersAttributesAreBounded, whatever their separator.
func TestOthersAttributesAreBounded(t *testing.T) {
	h := amqp.Table{"cloudEvents:id": strings.Repeat("x", 1000), "cloudEvents:partitionkey": strings.Repeat("x", 1000)}
	for i := range 1000 {
		h["cloudEvents:a"+strconv.Itoa(i)] = strings.Repeat("x", 5000)
		h["cloudEvents:n"+strconv.Itoa(i)] = int32(5)
	}
	m := decode(&amqp.Delivery{Headers: h})
	size := 0
	for name, value := range m.Attributes {
		size += len(name) + len(value)
		if len(value) > driver.MaxAttribute {
			t.Errorf("%s has %d bytes", name, len(value))
		}
	}
	if n := len(m.Attributes); n == 0 || n > driver.MaxAttributes || size > driver.MaxAttributesSize {
		t.Errorf("%d attributes of %d bytes", n, size)
	}
	if i, k := len(m.ID), len(m.Key); i == 0 || i > driver.MaxText || k == 0 || k > driver.MaxKey {
		t.Errorf("an ID of %d bytes, a key of %d", i, k)
	}
}

// TestOthersIDsStayApart: IDs and sources that cannot be taken as they are do not become the same.
func TestOthersIDsStayApart(t *testing.T) {
	long := strings.Repeat("x", 300)
	seen := make(map[string]int)
	for i, d := range []amqp.Delivery{
		{MessageId: "\xfe"},
		{MessageId: "\xff"},
		{MessageId: "\uFFFD"},
		{AppId: "\xfe"},
		{AppId: "\xff"},
		{Headers: amqp.Table{"cloudEvents_id": long + "1"}},
		{Headers: amqp.Table{"cloudEvents_id": long + "2"}},
		{Headers: amqp.Table{"cloudEvents_source": long + "1"}},
		{Headers: amqp.Table{"cloudEvents_source": long + "2"}},
	} {
		m := decode(&d)
		if len(m.ID) > driver.MaxText || !utf8.ValidString(m.ID) || len(m.Source) > driver.MaxText || !utf8.ValidString(m.Source) {
			t.Errorf("ID %q, source %q", m.ID, m.Source)
		}
		name := m.Source + " " + m.ID
		if other, ok := seen[name]; ok {
			t.Errorf("the messages %d and %d are both %q", other, i, name)
		}
		seen[name] = i
		if again := decode(delivered(encode(m))); again.ID != m.ID || again.Source != m.Source {
			t.Errorf("%q from %q became %q from %q when it was published again", m.ID, m.Source, again.ID, again.Source)
		}
	}
	for _, raw := range []string{long + "1", long + "2", "\xfe"} { // nor does what somebody publishes here
		if p := encode(&driver.Message{ID: raw, Source: raw}); p.MessageId != driver.Identity(raw) || p.AppId != driver.Identity(raw) {
			t.Errorf("%q was published with the ID %q and the source %q", raw, p.MessageId, p.AppId)
		}
	}
}

func TestDeliveries(t *testing.T) {
	for _, test := range []struct {
		headers amqp.Table
		want    int
	}{
		{nil, 1},
		{amqp.Table{headerDeliveries: int64(2)}, 3},
		{amqp.Table{headerDeliveries: int64(2), headerCount: int32(4)}, 7},
		{amqp.Table{headerDeliveries: int64(-5), headerCount: "many"}, 1},
		{amqp.Table{headerCount: int64(1) << 62}, 1<<30 + 1},
		{amqp.Table{headerCount: uint8(3), headerDeliveries: int16(1)}, 5},
	} {
		if got := deliveries(test.headers); got != test.want {
			t.Errorf("%v: %d, want %d", test.headers, got, test.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("cloudEvents_id", "1", int64(0), "id", "text/plain", []byte("x"))
	f.Add("cloudEvents:partitionkey", strings.Repeat("世", 300), int64(1_927_000_000), "id", "", []byte("x"))
	f.Add("cloudEvents:", "", int64(math.MinInt64), "", "", []byte{})
	f.Add(headerPosition, position(time.Unix(1, 2)), int64(math.MaxInt64), "\xff", strings.Repeat("x", 300), []byte{})
	f.Fuzz(func(t *testing.T, name, value string, number int64, id, contentType string, data []byte) {
		d := &amqp.Delivery{
			Headers: amqp.Table{
				name: value, "cloudEvents_time": value, "cloudEvents:expires": time.Unix(number, 0), "cloudEvents:sequence": number, headerCount: value,
			},
			MessageId: id, AppId: value, Type: name, ContentType: contentType, Body: data,
		}
		m := decode(d)
		for _, s := range []string{m.ID, m.Source, m.Type, m.ContentType, m.Key} {
			if !utf8.ValidString(s) || len(s) > driver.MaxKey {
				t.Errorf("%q", s)
			}
		}
		for name, value := range m.Attributes {
			if !driver.AttributeName(name) || len(value) > driver.MaxAttribute || !utf8.ValidString(value) {
				t.Errorf("attribute %q=%q", name, value)
			}
		}
		if n := deliveries(d.Headers); n < 1 {
			t.Errorf("delivered %d times", n)
		}
		if p := positionOf(d.Headers); strings.ContainsAny(p, " \t\r\n") || p != "" && buriedAt(p).IsZero() {
			t.Errorf("position %q", p)
		}
	})
}

func FuzzDecodeGroup(f *testing.F) {
	f.Add([]byte("orders.placed shipping"))
	f.Add([]byte("a b c"))
	f.Add([]byte(" "))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, ok := decodeGroup(b)
		if ok != (g != driver.Group{}) || ok && g.Topic+" "+g.Group != string(b) {
			t.Errorf("%q is %+v, %v", b, g, ok)
		}
	})
}
