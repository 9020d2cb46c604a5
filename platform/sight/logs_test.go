package sight_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	logspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/platform/control"
	"github.com/holdfast-go/holdfast/platform/sight"
)

// TestWhatIsSentIsFollowed without gap or overlap, of whom is asked for; whoever does not read loses lines, and is told how many.
func TestWhatIsSentIsFollowed(t *testing.T) {
	s := sight.New(sight.Config{})
	const waiting = 1000
	word := func(text string) *commonpb.AnyValue {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: text}}
	}
	send := func(instance, text string) {
		body, err := proto.Marshal(&logspb.ExportLogsServiceRequest{ResourceLogs: []*logsv1.ResourceLogs{{
			Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{
				{Key: "service.name", Value: word("orders")}, {Key: "service.instance.id", Value: word(instance)},
			}},
			ScopeLogs: []*logsv1.ScopeLogs{{LogRecords: []*logsv1.LogRecord{{Body: word(text)}}}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := s.AddLogs(body); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	send("orders-1", "first")
	sent, tail := s.Sent(control.LogQuery{Service: "orders-1", Lines: 10, Follow: true})
	if tail == nil || len(sent) != 1 || sent[0].Text != "first" {
		t.Fatalf("%v, %v", sent, tail)
	}
	send("orders-2", "somebody else's")
	s.AddLine(control.LogLine{Service: "orders", Instance: "orders-1", Text: "written, not sent"})
	for i := range waiting + 5 {
		send("orders-1", fmt.Sprint(i))
	}
	for i := range waiting {
		if l := <-tail.Lines; l.Text != fmt.Sprint(i) || l.Dropped > 0 {
			t.Fatalf("%d: %+v", i, l)
		}
	}
	send("orders-1", "again")
	if l := <-tail.Lines; l.Dropped != 5 {
		t.Errorf("%+v", l)
	}
	if l := <-tail.Lines; l.Text != "again" {
		t.Errorf("%+v", l)
	}
	tail.Stop()
	send("orders-1", "late")
	if len(tail.Lines) > 0 {
		t.Error("it goes on after its end")
	}
	if _, tail = s.Sent(control.LogQuery{}); tail != nil {
		t.Error("nobody asked for what follows")
	}
}

// What programs say is shown whole, of whatever kind it is, with its level and what was thrown.
func TestLogsOfOthers(t *testing.T) {
	s := sight.New(sight.Config{})
	text := func(x string) *commonpb.AnyValue {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: x}}
	}
	pair := func(key string, v *commonpb.AnyValue) *commonpb.KeyValue {
		return &commonpb.KeyValue{Key: key, Value: v}
	}
	trace := strings.Repeat("  at Mailer.send\n", 200)
	seen := time.Unix(1_700_000_000, 0).UTC()
	for _, tt := range []struct {
		record      *logsv1.LogRecord
		level, text string
	}{
		{&logsv1.LogRecord{Body: text(trace), SeverityNumber: logsv1.SeverityNumber_SEVERITY_NUMBER_ERROR}, "ERROR", trace},
		{&logsv1.LogRecord{Body: text("odd"), SeverityNumber: 1000}, "FATAL", "odd"},
		{&logsv1.LogRecord{Body: text("words count"), SeverityText: "notice", SeverityNumber: 17}, "notice", "words count"},
		{&logsv1.LogRecord{SeverityText: "WARN", Body: &commonpb.AnyValue{Value: &commonpb.AnyValue_KvlistValue{KvlistValue: &commonpb.KeyValueList{Values: []*commonpb.KeyValue{
			pair("msg", text("payment failed")), pair("try", &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: 3}}),
		}}}}}, "WARN", "msg=payment failed try=3"},
		{&logsv1.LogRecord{Body: &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: &commonpb.ArrayValue{Values: []*commonpb.AnyValue{
			text("a"), {Value: &commonpb.AnyValue_BoolValue{BoolValue: true}},
		}}}}}, "", "a true"},
		{&logsv1.LogRecord{Body: text("unhandled: db gone"), Attributes: []*commonpb.KeyValue{
			pair("exception.message", text("db gone")), pair("exception.stacktrace", text("at Main")),
		}}, "", "unhandled: db gone\nat Main"},
		{&logsv1.LogRecord{Body: text(strings.Repeat("x", 20<<10)), ObservedTimeUnixNano: uint64(seen.UnixNano())}, "", strings.Repeat("x", 16<<10)},
	} {
		body, err := proto.Marshal(&logspb.ExportLogsServiceRequest{ResourceLogs: []*logsv1.ResourceLogs{{ScopeLogs: []*logsv1.ScopeLogs{{LogRecords: []*logsv1.LogRecord{tt.record}}}}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.AddLogs(body); err != nil {
			t.Fatal(err)
		}
		all, _ := s.Sent(control.LogQuery{Lines: 100})
		got := all[len(all)-1]
		if tt.record.GetObservedTimeUnixNano() > 0 && !got.Time.Equal(seen) {
			t.Errorf("seen at %v", got.Time)
		}
		if got.Level != tt.level || got.Text != tt.text {
			t.Errorf("%v: %q %.100q (%d bytes)", tt.record, got.Level, got.Text, len(got.Text))
		}
	}
}
