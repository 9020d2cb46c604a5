package sight_test

import (
	"fmt"
	"testing"

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
