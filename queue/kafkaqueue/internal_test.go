package kafkaqueue

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// TestProgress: whatever is tracked and settled in whatever order, the position is the first that is not settled, and the
// spans beyond it are what is settled.
func TestProgress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newProgress()
		var open, done []int64
		numbers := make(map[int64]uint64)
		next := rapid.Int64Range(0, 1000).Draw(t, "begin")
		p.begin(next)
		t.Repeat(map[string]func(*rapid.T){
			"track": func(t *rapid.T) {
				o := next + rapid.Int64Range(0, 3).Draw(t, "gap")
				n, ok := p.track(o)
				if !ok {
					t.Fatalf("%d is not taken after %d", o, next-1)
				}
				numbers[o], open, next = n, append(open, o), o+1
			},
			"track again": func(t *rapid.T) {
				if next == 0 {
					t.Skip()
				}
				if _, ok := p.track(rapid.Int64Range(0, next-1).Draw(t, "old")); ok {
					t.Fatal("an offset is taken twice")
				}
			},
			"settle": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				if !p.settle(numbers[open[i]]) {
					t.Fatalf("%d is settled already", open[i])
				}
				done = append(done, open[i])
				open = slices.Delete(open, i, i+1)
			},
			"settle again": func(t *rapid.T) {
				if len(done) == 0 {
					t.Skip()
				}
				if p.settle(numbers[rapid.SampledFrom(done).Draw(t, "which")]) {
					t.Fatal("settled twice")
				}
			},
			"": func(t *rapid.T) {
				want := next
				if len(open) > 0 {
					want = slices.Min(open)
				}
				if got := p.position(); got != want {
					t.Fatalf("position %d, want %d", got, want)
				}
				if p.open != len(open) {
					t.Fatalf("%d open, want %d", p.open, len(open))
				}
				spans := p.settled(math.MaxInt)
				id := [16]byte{byte(len(done))}
				if got, of := decodeSettled(want, encodeSettled(want, spans, id)); !slices.Equal(got, spans) || of != id {
					t.Fatalf("spans %v of %v come back as %v of %v", spans, id, got, of)
				}
				in := func(o int64) bool {
					return slices.ContainsFunc(spans, func(s span) bool { return s.first <= o && o < s.end })
				}
				for _, o := range open {
					if in(o) {
						t.Fatalf("%d is not settled, and in %v", o, spans)
					}
				}
				for _, o := range done {
					if o > want && !in(o) {
						t.Fatalf("%d is settled, and not in %v", o, spans)
					}
				}
			},
		})
	})
}

// TestProgressBound: what is settled is forgotten while one message is stuck for long and when it is through.
func TestProgressBound(t *testing.T) {
	p := newProgress()
	var last uint64
	for i := range int64(1_000_000) {
		last, _ = p.track(i)
		if i >= 10 {
			p.settle(last - 10)
		}
	}
	if c := cap(p.entries); c > 10_000 {
		t.Errorf("it keeps %d entries for 10 that are open", c)
	}
}

func TestMetadataIsBounded(t *testing.T) {
	var spans []span
	for i := range int64(maxSpans) {
		spans = append(spans, span{first: 1000*i + 7, end: 1000*i + 500})
	}
	id := [16]byte{1, 2, 3}
	text := encodeSettled(0, spans, id)
	if len(text) > maxMetadataText {
		t.Errorf("%d bytes", len(text))
	}
	got, of := decodeSettled(0, text)
	if of != id || len(got) < 700 || !slices.Equal(got, spans[:len(got)]) {
		t.Errorf("%d of %d spans come back, or others", len(got), len(spans))
	}
	for _, other := range []string{"", "holdfast-1234", metadataMark + "!!!", metadataMark + "AAAA", metadataMark + "/////////w"} {
		if got, id := decodeSettled(5, other); len(got) > 0 || id != [16]byte{} {
			t.Errorf("%q is read as %v", other, got)
		}
	}
}

// FuzzMetadata: whatever stands in a commit, what comes of it is spans beyond the position, in order.
func FuzzMetadata(f *testing.F) {
	f.Add(int64(5), encodeSettled(5, []span{{6, 9}, {20, 21}}, [16]byte{}))
	f.Add(int64(5), encodeSettled(5, []span{{6, 9}}, [16]byte{1}))
	f.Add(int64(math.MaxInt64), metadataMark+"AQEBAQ")
	f.Add(int64(-1), "consumer-1")
	f.Fuzz(func(t *testing.T, position int64, text string) {
		at := position
		spans, _ := decodeSettled(position, text)
		for _, s := range spans {
			if s.first <= at || s.end <= s.first {
				t.Fatalf("%v after %d", s, at)
			}
			at = s.end
		}
	})
}

// TestMetadataOfOtherVersions: what commits had before they had the ID of their topic is read, and the other way round.
func TestMetadataOfOtherVersions(t *testing.T) {
	spans := []span{{6, 9}, {20, 21}}
	before, after := encodeSettled(5, spans, [16]byte{}), encodeSettled(5, spans, [16]byte{9})
	if before != metadataMark+"AQILAA" { // distances, and lengths less one
		t.Errorf("without an ID: %q", before)
	}
	if got, id := decodeSettled(5, before); !slices.Equal(got, spans) || id != [16]byte{} {
		t.Errorf("%v of %v", got, id)
	}
	if rest, ok := strings.CutPrefix(after, metadataMark+"AQILAA"); !ok || !strings.HasPrefix(rest, "A") {
		t.Errorf("earlier versions end at a distance of 0, and this has none: %q", after)
	}
	if encodeSettled(5, nil, [16]byte{}) != "" {
		t.Error("nothing has metadata")
	}
}

func TestMerge(t *testing.T) {
	for _, c := range []struct{ a, b, want []span }{
		{nil, nil, nil},
		{[]span{{0, 5}}, nil, []span{{0, 5}}},
		{[]span{{0, 5}, {9, 12}}, []span{{3, 7}, {12, 13}, {20, 21}}, []span{{0, 7}, {9, 13}, {20, 21}}},
	} {
		if got := merge(c.a, c.b); !slices.Equal(got, c.want) {
			t.Errorf("%v and %v: %v", c.a, c.b, got)
		}
	}
}

func TestNames(t *testing.T) {
	seen := make(map[string]driver.Group)
	for _, g := range []driver.Group{{Topic: "a", Group: "b"}, {Topic: "a.b", Group: "c"}, {Topic: "a", Group: "b.c"}, {Topic: "a.b", Group: "c.d"}, {Topic: "a..", Group: "x"}, {Topic: "a", Group: ".x"}} {
		name := againTopic(g.Topic, g.Group)
		if o, ok := seen[name]; ok {
			t.Errorf("%v and %v are both %s", g, o, name)
		}
		seen[name] = g
		if got, ok := groupOf(name, againSuffix); !ok || got != g {
			t.Errorf("%s is read as %v", name, got)
		}
		if _, ok := groupOf(name, deadSuffix); ok {
			t.Errorf("%s has dead letters", name)
		}
		if err := checkTopic(name); !errors.Is(err, driver.ErrRefused) {
			t.Errorf("a topic may be called %s: %v", name, err)
		}
	}
	for _, name := range []string{"", "again", "b.again", "a.b.again-0", "a.b.again-1", "a.b.again-01", "a.b.c.again-x", "a.b.c", "orders.placed"} {
		if g, ok := groupOf(name, againSuffix); ok {
			t.Errorf("%q is of %v", name, g)
		}
		if err := checkTopic(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add("orders.placed", "shipping")
	f.Add("a", "b.c")
	f.Fuzz(func(t *testing.T, topic, group string) {
		if topic == "" || group == "" {
			return
		}
		if g, ok := groupOf(deadTopic(topic, group), deadSuffix); !ok || g != (driver.Group{Topic: topic, Group: group}) {
			t.Errorf("%q of %q is read as %v", group, topic, g)
		}
	})
}

// TestForeignRecords: what somebody else wrote is a message, known by its place and its time.
func TestForeignRecords(t *testing.T) {
	var c reader
	at := time.UnixMilli(1_700_000_000_000)
	m := c.message(&kgo.Record{Topic: "t", Partition: 3, Offset: 14, Key: []byte("k\xff"), Value: []byte("v"), Timestamp: at, Headers: []kgo.RecordHeader{{Key: "x", Value: []byte("y")}}})
	if m.ID != "t/3/14/1700000000000" || m.Source != "kafka:t" || m.Key != "k\uFFFD" || !m.Time.Equal(at) || string(m.Data) != "v" || len(m.Attributes) != 0 {
		t.Errorf("%+v", m)
	}
	// An event whose publisher leaves the key to Kafka is in order by that; a letter of ours has a key that is another thing.
	event := &kgo.Record{Topic: "t", Key: []byte("k"), Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte("1")}}}
	if m := c.message(event); m.ID != "1" || m.Key != "k" {
		t.Errorf("an event without a partition key: %+v", m)
	}
	if m := c.letter(event); m.ID != "1" || m.Key != "" {
		t.Errorf("a letter without a key: %+v", m)
	}
	for _, v := range []string{"", "x", "-1", "99999999999999999999", "999999999999999999"} {
		if got := due(&kgo.Record{Headers: []kgo.RecordHeader{{Key: dueHeader, Value: []byte(v)}}}); !got.IsZero() {
			t.Errorf("due %q is %v", v, got)
		}
	}
	var many reader
	for i := range 10 * maxInterned {
		many.text(prefix+"type", fmt.Append(nil, i))
	}
	if len(many.texts) > maxInterned {
		t.Errorf("it keeps %d texts", len(many.texts))
	}
}

func FuzzRecord(f *testing.F) {
	f.Add("ce_id", []byte("1"), "ce_time", []byte("2020-01-01T00:00:00Z"), []byte("key"))
	f.Add("content-type", []byte("%zz"), dueHeader, []byte("1700000000000"), []byte{0xff})
	f.Fuzz(func(t *testing.T, k1 string, v1 []byte, k2 string, v2, key []byte) {
		var c reader
		r := &kgo.Record{Topic: "t", Key: key, Headers: []kgo.RecordHeader{{Key: k1, Value: v1}, {Key: k2, Value: v2}}}
		if m := c.message(r); m.ID == "" || len(m.Key) > driver.MaxKey || len(m.ID) > driver.MaxText {
			t.Errorf("%+v", m)
		}
		due(r)
	})
}

func TestParse(t *testing.T) {
	c, err := Parse("kafka://us%40er:p%3Ass@h1:9092,[::1]:9093?tls=1&ca-file=/x&sasl=scram-sha-512&partitions=3&replicas=2&max-message=1000")
	if err != nil || !slices.Equal(c.Brokers, []string{"h1:9092", "[::1]:9093"}) || c.Username != "us@er" || c.Password != "p:ss" || !c.useTLS ||
		c.caFile != "/x" || c.Mechanism != "scram-sha-512" || c.Partitions != 3 || c.Replicas != 2 || c.MaxMessage != 1000 {
		t.Errorf("%+v, %v", c, err)
	}
	for url, want := range map[string]string{
		"amqp://h:1":                            "kafka://",
		"kafka://h":                             "HOST:PORT",
		"kafka://u:geheim@h":                    "HOST:PORT",
		"kafka://u:geheim@x@h:1,geheim":         "HOST:PORT",
		"kafka://:geheim@h:1":                   "USER:PASSWORD",
		"kafka://u:geheim%@h:1":                 "USER:PASSWORD",
		"kafka://u:geheim@h:1?geheim=geheim":    "option other than",
		"kafka://u:geheim@h:1?tls=geheim":       "tls",
		"kafka://u:geheim@h:1?sasl=geheim":      "sasl",
		"kafka://u:geheim@h:1?partitions=0":     "partitions",
		"kafka://h:1?tls=1&tls=0":               "twice",
		"kafka://u:geheim@h:1?password-file=/x": "password-file",
		"kafka://h:1?%zz":                       "cannot be read",
		"kafka://h:0":                           "HOST:PORT",
		"kafka://" + strings.Repeat("h", 5000):  "longer",
	} {
		_, err := Parse(url)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%.60s: %v", url, err)
		}
		if err := (Opener{}).CheckURL(url); err == nil {
			t.Errorf("%.60s: the opener takes it", url)
		}
	}
}

// FuzzParse: a URL that is taken has brokers, and can be judged.
func FuzzParse(f *testing.F) {
	f.Add("kafka://u:p@h:1,h:2?tls=1")
	f.Add("kafka://h:1/?sasl=plain&max-message=99999999999999999999")
	f.Fuzz(func(t *testing.T, url string) {
		c, err := Parse(url)
		if err != nil {
			return
		}
		if len(c.Brokers) == 0 || slices.ContainsFunc(c.Brokers, func(b string) bool { return !isHostPort(b) }) {
			t.Errorf("brokers %q", c.Brokers)
		}
		_ = c.Validate()
	})
}

func TestValidate(t *testing.T) {
	for want, c := range map[string]Config{
		"no brokers":       {},
		"beyond loopback":  {Brokers: []string{"10.0.0.1:9092"}},
		"not HOST:PORT":    {Brokers: []string{"x"}},
		"user name":        {Brokers: []string{"127.0.0.1:1"}, Password: "geheim"},
		"no password":      {Brokers: []string{"127.0.0.1:1"}, Username: "u"},
		"mechanism":        {Brokers: []string{"127.0.0.1:1"}, Username: "u", Password: "geheim", Mechanism: "geheim"},
		"partitions":       {Brokers: []string{"127.0.0.1:1"}, Partitions: -1},
		"replicas":         {Brokers: []string{"127.0.0.1:1"}, Replicas: -1},
		"1 to":             {Brokers: []string{"127.0.0.1:1"}, MaxMessage: 1 << 30},
		"cannot be negati": {Brokers: []string{"127.0.0.1:1"}, Session: -1},
	} {
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := (Config{Brokers: []string{"10.0.0.1:9092"}, useTLS: true}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestMeaning(t *testing.T) {
	for err, want := range map[error]error{
		kerr.MessageTooLarge: driver.ErrTooLarge, kerr.TopicAuthorizationFailed: driver.ErrRefused, kgo.ErrMaxBuffered: driver.ErrFull,
	} {
		if got := wrong(context.Background(), fmt.Errorf("x: %w", err), "do"); !errors.Is(got, want) || !errors.Is(got, err) {
			t.Errorf("%v is %v", err, got)
		}
	}
	if got := wrong(context.Background(), kerr.NotEnoughReplicas, "do"); errors.Is(got, driver.ErrRefused) || errors.Is(got, driver.ErrFull) {
		t.Errorf("%v", got)
	}
	if wrong(context.Background(), nil, "do") != nil {
		t.Error("nothing is wrong")
	}
}

// TestDial: a broker that refuses is away for now, which the client must not take for a wrong address.
func TestDial(t *testing.T) {
	c := Config{Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}}
	_, err := c.dial()(context.Background(), "tcp", "localhost:1")
	var op *net.OpError
	if !errors.As(err, &op) || !op.Timeout() || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%#v", err)
	}
	c.Dial = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "h", IsNotFound: true}}
	}
	_, err = c.dial()(context.Background(), "tcp", "localhost:1")
	var dns *net.DNSError
	if !errors.As(err, &op) || !op.Timeout() || errors.As(err, &dns) || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("%#v", err)
	}
}

// TestDialsNobodyInPlaintext: whatever address brokers gave, nothing goes there that others could read.
func TestDialsNobodyInPlaintext(t *testing.T) {
	var dialled string
	away := errors.New("away")
	dial := func(_ context.Context, _, address string) (net.Conn, error) {
		dialled = address
		return nil, away
	}
	for _, address := range []string{"10.0.0.1:9092", "kafka:9092", "[2001:db8::1]:9092", "0.0.0.0:9092", "nothing"} {
		dialled = ""
		if _, err := (Config{Dial: dial}).dial()(t.Context(), "tcp", address); !errors.Is(err, driver.ErrRefused) || dialled != "" {
			t.Errorf("%s: dialled %q, %v", address, dialled, err)
		}
		if _, err := (Config{Dial: dial, Insecure: true}).dial()(t.Context(), "tcp", address); !errors.Is(err, away) || dialled != address {
			t.Errorf("%s, insecure: dialled %q, %v", address, dialled, err)
		}
	}
	for _, address := range []string{"127.0.0.1:9092", "localhost:9092", "[::1]:9092"} {
		if _, err := (Config{Dial: dial}).dial()(t.Context(), "tcp", address); !errors.Is(err, away) || dialled != address {
			t.Errorf("%s: dialled %q, %v", address, dialled, err)
		}
	}
}

// What the owner before has settled stays in the commits of the next one, who has not read up to there yet.
func TestACommitKeepsWhatTheOwnerBeforeSettled(t *testing.T) {
	r := &receiver{parts: map[place]*partition{}, past: map[place][]span{}, ids: map[string][16]byte{}}
	r.client = new(kgo.Client)
	at := place{"t", 0}
	p := r.add(at)
	p.begin(10)
	p.skip, _ = decodeSettled(10, encodeSettled(10, []span{{11, 5000}}, [16]byte{}))
	n, _ := p.track(10)
	p.settle(n)
	p.version++
	req := kmsg.NewPtrOffsetCommitRequest()
	req.MemberID = "m"
	r.fill(req, r.client, nil)
	c := req.Topics[0].Partitions[0]
	if beyond, _ := decodeSettled(c.Offset, *c.Metadata); c.Offset != 5000 || len(beyond) != 0 {
		t.Errorf("committed %d, and %v beyond it: 11 to 4999 were settled", c.Offset, beyond)
	}
}
